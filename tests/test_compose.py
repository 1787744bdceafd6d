"""The Docker files match the code: processes, settings, and the content of the image."""

import importlib.util
import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sandbox import first_day
from sandbox.local.kafka import PROPERTIES
from sandbox.local_city import SERVICES
from services.billing.settings import Settings as Billing
from services.notifications.settings import Settings as Notifications

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load(FILE.read_text())
PARTS: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"secrets", "migrate", "topics", "catalogue"}
SERVERS = {"postgres", "kafka"}
NEIGHBOURS = {"psp", "billers", "mailbox"}


# The environment of the image, by which requirement markers are evaluated.
IMAGE = {
    "python_version": "3.11",
    "python_full_version": "3.11.14",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
}


def test_compose_reads_the_file() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [str(tool), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_file_is_tidy() -> None:
    rules = "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}"
    command = [str(Path(sys.executable).with_name("yamllint")), "--strict", "-d", rules, str(FILE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_processes_are_those_of_the_city() -> None:
    assert PARTS.keys() == SERVICES.keys() | NEIGHBOURS | ONCE | SERVERS
    run = {name: _module(part) for name, part in PARTS.items() if _module(part)}
    expected = {name: module for name, (module, _) in SERVICES.items()}
    expected |= {name: f"sandbox.{name}" for name in NEIGHBOURS}
    assert run == {**expected, "secrets": "sandbox.first_day"}


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if "build" in part])
def test_the_command_of_a_container_exists_in_its_image(name: str) -> None:
    part = PARTS[name]
    module = _module(part)
    assert module or part["command"][0] in {"meterhall", "sh"}
    if module:
        # find_spec() does not run the module.
        assert importlib.util.find_spec(module)
    in_sandbox = part["build"]["target"] == "sandbox"
    assert in_sandbox == ("sandbox." in " ".join(part["command"]))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_variable_is_a_setting_that_the_process_reads(name: str, tmp_path: Path) -> None:
    settings = Notifications if name.startswith("notifications") else Billing
    known = {f"METERHALL_{field}".upper() for field in settings.model_fields}
    given = PARTS[name]["environment"].keys() - {"METERHALL_SECRETS_FILE"}
    assert given <= known, given - known
    first_day.make(tmp_path)
    file = Path(PARTS[name]["environment"]["METERHALL_SECRETS_FILE"]).name
    secret = set(re.findall(r"^(\w+)='\S+'$", (tmp_path / file).read_text(), re.MULTILINE))
    required = {
        f"METERHALL_{field}".upper()
        for field, info in settings.model_fields.items()
        if info.is_required()
    }
    assert secret
    assert secret <= known
    assert required <= given | secret


def test_a_file_of_secrets_gives_a_shell_what_the_settings_need(tmp_path: Path) -> None:
    """The script of the image, on the files of the first day."""
    first_day.make(tmp_path)
    script = re.search(
        r"<<'SCRIPT' /usr/local/bin/with-secrets\n(.*?)\nSCRIPT", DOCKERFILE, re.DOTALL
    )
    assert script
    entry = tmp_path / "with-secrets"
    entry.write_text(script[1])
    read = "from services.billing.settings import Settings as S; print(S().database_url.get_secret_value())"
    result = subprocess.run(
        ["sh", entry, sys.executable, "-c", read],
        env={"METERHALL_SECRETS_FILE": str(tmp_path / "billing"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.fullmatch(
        r"postgresql\+asyncpg://billing_app:\S{32}@postgres:5432/meterhall\n", result
    )
    owner = (tmp_path / "migrate").read_text()
    assert (tmp_path / "postgres-password").read_text() in owner


def test_no_secret_is_in_the_files() -> None:
    for name, part in PARTS.items():
        for variable, value in (part.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|KEY|TOKEN", variable):
                assert str(value).startswith("/secrets/"), f"{name}: {variable}"
    assert not re.search(r"sk_|whsec_|://[^/\s]+:[^/\s]+@", FILE.read_text() + DOCKERFILE)


def test_every_long_running_container_has_a_health_check() -> None:
    for name, part in PARTS.items():
        if name in ONCE:
            assert part["restart"] == "no"
            assert "healthcheck" not in part
        else:
            assert part["restart"] == "unless-stopped"
            assert part["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_our_processes_wait_for_tables_and_topics() -> None:
    for name in SERVICES:
        waits = PARTS[name]["depends_on"]
        assert {each: says["condition"] for each, says in waits.items()} == {
            "migrate": "service_completed_successfully",
            "topics": "service_completed_successfully",
        }
    for part in PARTS.values():
        for other, says in part.get("depends_on", {}).items():
            condition = says["condition"]
            assert (condition == "service_completed_successfully") == (other in ONCE)


def test_containers_that_read_secrets_start_after_their_creation() -> None:
    def before(name: str) -> set[str]:
        direct = set(PARTS[name].get("depends_on", {}))
        return direct | {each for other in direct for each in before(other)}

    for name, part in PARTS.items():
        if name != "secrets" and any("/secrets" in volume for volume in part.get("volumes", [])):
            assert "secrets" in before(name), name
            assert "secrets:/secrets:ro" in part["volumes"]


def test_ports_are_open_to_this_machine_only_and_differ() -> None:
    published = [port for part in PARTS.values() for port in part.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    defaults = re.findall(r":-(\d+)\}:", " ".join(published))
    assert len(defaults) == len(set(defaults)) == len(published)


def test_probes_ask_the_port_that_the_process_serves() -> None:
    for name, (module, _) in SERVICES.items():
        environment = PARTS[name]["environment"]
        port = environment["METERHALL_METRICS_PORT"]
        if module.endswith(".web"):
            kind = "NOTIFICATIONS_" if "notifications" in module else ""
            port = environment[f"METERHALL_{kind}WEB_PORT"]
            assert environment[f"METERHALL_{kind}WEB_HOST"] == "0.0.0.0"  # noqa: S104
        assert f"http://127.0.0.1:{port}/readyz" in " ".join(PARTS[name]["healthcheck"]["test"])


def test_every_volume_is_declared_and_used() -> None:
    used = {
        volume.split(":")[0]
        for part in PARTS.values()
        for volume in part.get("volumes", [])
        if not volume.startswith((".", "/"))
    }
    assert used == COMPOSE["volumes"].keys()


def test_our_containers_have_no_needless_privileges() -> None:
    for part in (each for each in PARTS.values() if "build" in each):
        assert part["read_only"]
        assert part["cap_drop"] == ["ALL"]
        assert part["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r"^USER 10001$", DOCKERFILE, re.MULTILINE)


def test_kafkas_variables_are_properties_of_the_sandboxs_broker_too() -> None:
    known = {line.split("=")[0] for line in PROPERTIES.splitlines() if line}
    given = {
        name.removeprefix("KAFKA_").lower().replace("_", ".")
        for name in PARTS["kafka"]["environment"]
        if name != "KAFKA_HEAP_OPTS"
    }
    # This broker is reached from inside and outside; the sandbox's from one side.
    assert given - known == {"inter.broker.listener.name"}
    assert PARTS["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_the_image_holds_what_is_needed_and_nothing_else() -> None:
    """Compare the packages that the Dockerfile leaves out with the needs of the requirements above `# the sandbox`."""
    text = re.search(r"<<'NAMES'\n(.*?)\nNAMES", DOCKERFILE, re.DOTALL)
    assert text
    assert f"python:{IMAGE['python_full_version']}-" in DOCKERFILE
    left_out = set(text[1].split())
    locked = set(
        re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    production, rest = (ROOT / "requirements.in").read_text().split("# the sandbox")
    needed = _closure(production)
    by_name = {"aiosmtpd", "atpublic", "setuptools"}
    assert _closure("aiosmtpd") - needed == {"aiosmtpd", "atpublic"}
    assert left_out == locked - needed - by_name
    assert "pytest" in rest


def test_the_production_image_has_no_sandbox() -> None:
    (line,) = re.findall(r"^sandbox = .*$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert line.startswith("sandbox = ")
    assert "sed -i '/^sandbox = /d' pyproject.toml" in DOCKERFILE
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    for stage in stages:
        assert ("COPY sandbox" in stage) == stage.startswith("meterhall AS sandbox")
    assert stages[-1].strip() == "meterhall", "the last stage is what `docker build .` makes"


def test_files_that_the_image_needs_are_not_ignored() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = {
        source
        for line in re.findall(r"^COPY (?!--)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in shlex.split(line)[:-1]
    }
    assert copied == allowed
    assert all((ROOT / each).exists() for each in allowed)


def _module(part: dict[str, Any]) -> str | None:
    command = part.get("command", [])
    return command[2] if command[:2] == ["python", "-m"] else None


def _closure(requirements: str) -> set[str]:
    """Return the installed packages that these requirements need, spelled as in the lock file."""
    wanted = [
        Requirement(line) for line in requirements.splitlines() if line and not line.startswith("#")
    ]
    todo = [(canonicalize_name(each.name), tuple(sorted(each.extras))) for each in wanted]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:  # needed by the image's Python, not by this one
            continue
        for each in map(Requirement, requires):
            if each.marker is None or any(
                each.marker.evaluate({**IMAGE, "extra": extra}) for extra in (*extras, "")
            ):
                todo.append((canonicalize_name(each.name), tuple(sorted(each.extras))))
    return {name for name, _ in seen}
