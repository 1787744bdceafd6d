"""A whole city on one laptop: PostgreSQL, Kafka, a PSP, billers, a mail box and every process of Meterhall.

Everything is a child of this process and ends with it; the state stays in the city's folder for the next start. An
existing server is used instead of ours when METERHALL_SANDBOX_POSTGRES (a superuser's URL) or METERHALL_SANDBOX_KAFKA
(bootstrap addresses) names one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

from chassis.china import CHINA
from sandbox import catalogue
from sandbox.home import Home, write_private
from sandbox.local.create_database import create_database
from sandbox.local.kafka import Kafka
from sandbox.local.local_process import LocalProcess
from sandbox.local.ports import HOST, NotReadyError
from sandbox.local.postgres import Postgres

DATABASE = "meterhall"
CHANNEL = "demo-wallet"

# The parts around Meterhall. When only some of them are started, Meterhall's own processes are not.
PARTS = ("postgres", "kafka", "psp", "billers", "mailbox")
# The processes of Meterhall, each with the port of its readiness probe.
SERVICES = {
    "web": ("services.billing.web", "web"),
    "worker": ("services.billing.worker", "metrics-worker"),
    "relay": ("services.billing.relay", "metrics-relay"),
    "timer": ("services.billing.timer", "metrics-timer"),
    "notifications-web": ("services.notifications.web", "notifications"),
    "notifications-worker": ("services.notifications.worker", "metrics-notifications-worker"),
    "notifications-sender": ("services.notifications.sender", "metrics-notifications-sender"),
    "notifications-relay": ("services.notifications.relay", "metrics-notifications-relay"),
}


@dataclass
class LocalCity:
    """The city of one home, or some parts of it. `tell` is called with each step. `settings` are Meterhall's, besides
    those that the city creates; `postgres` and `kafka` are its own servers, if it has them.
    """

    home: Home
    tell: Callable[[str], None] = lambda _: None
    seed: int = 1
    only: tuple[str, ...] = PARTS
    settings: Mapping[str, str] = field(default_factory=dict)
    accounts_per_biller: int = 400
    postgres: Postgres | None = None
    kafka: Kafka | None = None
    processes: dict[str, LocalProcess] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    _servers: list[Postgres | Kafka] = field(default_factory=list)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start everything, or only the named parts. Raises NotReadyError that says where to look."""
        ports = self.home.ports
        superuser_url = f"postgresql+asyncpg://postgres@{HOST}:{ports['postgres']}/postgres"
        kafka = f"{HOST}:{ports['kafka']}"
        if "postgres" in self.only:
            superuser_url = self._postgres()
        if "kafka" in self.only:
            kafka = self._kafka()
        self.environment = self._environment(superuser_url, kafka)
        if "postgres" in self.only and "kafka" in self.only:
            self._prepare(superuser_url, kafka)
        self._neighbours()
        if self.only == PARTS:
            self._meterhall()
        write_private(self.home.environment_file, self.environment)
        return self

    def _meterhall(self) -> None:
        self._catalogue()
        self._services()
        self._channel()
        self._bills_by_file()
        # For users who try the city from a shell.
        self.environment["METERHALL_DEMO_KEY"] = self.home.secrets["channel_key"]
        self.environment["METERHALL_DEMO_SIGNING_KEY"] = self.home.secrets["signing_key"]
        self.environment["METERHALL_SANDBOX_BILLERS"] = self.home.url("billers")

    def stop(self) -> None:
        """Stop everything, clients before their servers."""
        for process in reversed(self.processes.values()):
            process.stop()
        while self._servers:
            self._servers.pop().stop()
        self.home.environment_file.unlink(missing_ok=True)

    def revive(self) -> list[str]:
        """Restart processes that have died; return their names."""
        return [name for name, process in self.processes.items() if process.revive()]

    def command(self, *arguments: str) -> str:
        """Run a command of `meterhall` for this city; return its output. Raises NotReadyError when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "services.billing.cli", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            error = (done.stderr or done.stdout).strip()
            raise NotReadyError(f"meterhall {' '.join(arguments[:3])}: {error}")
        return done.stdout

    def _postgres(self) -> str:
        existing = os.environ.get("METERHALL_SANDBOX_POSTGRES")
        if existing:
            return existing
        self.tell("PostgreSQL")
        server = Postgres(
            self.home.folder / "postgres",
            self.home.secrets["postgres"],
            port=self.home.ports["postgres"],
        )
        self._servers.append(server)
        self.postgres = server
        return server.start().superuser_url()

    def _kafka(self) -> str:
        existing = os.environ.get("METERHALL_SANDBOX_KAFKA")
        if existing:
            return existing
        self.tell("Kafka")

        def fetching(done: int, of: int) -> None:
            self.tell(f"Kafka: fetched {done} of {of} jars")

        broker = Kafka(
            self.home.folder / "kafka",
            port=self.home.ports["kafka"],
            controller_port=self.home.ports["kafka_controller"],
            progress=fetching,
        )
        self._servers.append(broker)
        self.kafka = broker
        return broker.start().bootstrap

    def _environment(self, superuser_url: str, kafka: str) -> dict[str, str]:
        server = superuser_url.split("@", 1)[1].rsplit("/", 1)[0]
        home, secrets = self.home, self.home.secrets

        def database(role: str, secret: str) -> str:
            return f"postgresql+asyncpg://{role}:{secrets[secret]}@{server}/{DATABASE}"

        return {
            "METERHALL_KAFKA": kafka,
            "METERHALL_COMMAND_SECRET": secrets["command"],
            "METERHALL_DATABASE_URL": database("billing_app", "billing"),
            "METERHALL_OWNER_DATABASE_URL": database("meterhall_owner", "owner"),
            "METERHALL_NOTIFICATIONS_DATABASE_URL": database("notifications_app", "notifications"),
            "METERHALL_PSP_URL": home.url("psp"),
            "METERHALL_PSP_API_KEY": secrets["psp_api_key"],
            "METERHALL_PSP_WEBHOOK_SECRET": secrets["psp_webhook"],
            "METERHALL_BILLER_SECRETS": str(
                home.biller_secrets([str(row["id"]) for row in self.billers()])
            ),
            "METERHALL_DATA_DIR": str(home.folder / "data"),
            "METERHALL_PUBLIC_URL": home.url("web"),
            "METERHALL_BILLING_URL": home.url("web"),
            "METERHALL_WEB_PORT": str(home.ports["web"]),
            "METERHALL_NOTIFICATIONS_WEB_PORT": str(home.ports["notifications"]),
            "METERHALL_SMTP_HOST": HOST,
            "METERHALL_SMTP_PORT": str(home.ports["smtp"]),
            "METERHALL_MAIL_FROM": "Meterhall <receipts@meterhall.example>",
            # The city's wallets listen on this machine; elsewhere a webhook must not lead inside.
            "METERHALL_WEBHOOK_ALLOW_LOOPBACK": "true",
            **self.settings,
        }

    def billers(self) -> list[dict[str, object]]:
        """The billers of the city's catalogue, in its order."""
        rows = catalogue.rows(self.home.url("billers"))
        return [row for row in rows if row["kind"] == "biller"]

    def _prepare(self, superuser_url: str, kafka: str) -> None:
        from messaging.control import provision
        from migrations.apply import migrate

        self.tell("database and topics")
        secrets = self.home.secrets
        create_database(superuser_url, DATABASE, "meterhall_owner", secrets["owner"])
        migrate(
            self.environment["METERHALL_OWNER_DATABASE_URL"],
            self.environment["METERHALL_DATABASE_URL"],
            self.environment["METERHALL_NOTIFICATIONS_DATABASE_URL"],
        )
        provision(kafka)

    def _neighbours(self) -> None:
        self.tell(", ".join(part for part in self.only if part not in {"postgres", "kafka"}))
        home, ports, data = self.home, self.home.ports, self.environment["METERHALL_DATA_DIR"]
        secrets, seed = self.environment["METERHALL_BILLER_SECRETS"], str(self.seed)
        accounts = ("--accounts-per-biller", str(self.accounts_per_biller))
        webhooks = f"{home.url('web')}/v1/psp/webhooks"
        parts: dict[str, tuple[str, tuple[str, ...]]] = {
            "psp": ("sandbox.psp", ("--webhook-url", webhooks, "--seed", seed)),
            "billers": (
                "sandbox.billers",
                ("--data-dir", data, "--secrets", secrets, "--seed", seed, *accounts),
            ),
            "mailbox": ("sandbox.mailbox", ("--smtp-port", str(ports["smtp"]))),
        }
        self._launch(
            [
                self._process(
                    name,
                    module,
                    name,
                    *("--port", str(ports[name]), "--state", str(home.folder / name), *more),
                )
                for name, (module, more) in parts.items()
                if name in self.only
            ]
        )

    def _catalogue(self) -> None:
        self.tell("catalogue")
        file = self.home.folder / "catalogue.jsonl"
        rows = catalogue.rows(self.home.url("billers"))
        file.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
        self.command("catalog", "import", str(file))

    def _services(self) -> None:
        self.tell("Meterhall")
        self._launch(
            [self._process(name, module, port) for name, (module, port) in SERVICES.items()]
        )

    def _process(self, name: str, module: str, port: str, *arguments: str) -> LocalProcess:
        environment = {**self.environment}
        if port.startswith("metrics-"):
            environment["METERHALL_METRICS_PORT"] = str(self.home.ports[port])
        # Migrations are not a service's business.
        del environment["METERHALL_OWNER_DATABASE_URL"]
        path = "/readyz" if module.startswith("services.") else "/livez"
        log = self.home.folder / "logs" / f"{name}.log"
        return LocalProcess(name, module, environment, log, self.home.url(port) + path, arguments)

    def _launch(self, processes: Sequence[LocalProcess]) -> None:
        for process in processes:
            self.processes[process.name] = process
            process.launch()
        for process in processes:
            process.wait_ready()

    def _channel(self) -> None:
        # Made on the first day; the keys are shown once, so the city keeps them.
        secrets = self.home.secrets
        if "channel_key" not in secrets:
            self.tell("a wallet app's channel and its keys")
            self.command("channels", "create", CHANNEL, "The demo wallet")
            key = self.command("channels", "issue-key", CHANNEL).split()[-1]
            token = self.command("notifications", "channel", "add", CHANNEL).split()[-1]
            self.home.keep_secret("notifications_token", token)
            self.home.keep_secret("channel_key", key)
        # An older city without a signing key gets one, too.
        if "signing_key" not in secrets:
            key = self.command("channels", "issue-signing-key", CHANNEL).split()[-1]
            self.home.keep_secret("signing_key", key)

    def _bills_by_file(self) -> None:
        self.tell("bills of billers that work by file")
        today = datetime.now(CHINA)
        for row in self.billers():
            if row["settled_by"] != "file":
                continue
            folder = Path(self.environment["METERHALL_DATA_DIR"]) / "billers" / str(row["id"])
            for file in sorted((folder / "bills").glob("*.csv")):
                if file.stem <= f"{today:%Y%m%d}":
                    self.command("bills", "import", str(row["id"]), str(file))
