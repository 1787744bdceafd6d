"""The contract as files, generated from the models: `python -m events.schema` writes them, `--check` compares.

Generated are one JSON Schema per type and major version, the topics, the AsyncAPI document and the tables of
docs/events.md. The schemas of the last release are in schemas/released/: only `--release` copies them there, and
`--check` refuses changes that break them.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from events import EVENT_TYPES
from events.documents import asyncapi, reference
from events.documents.compatibility import breaches, topic_breaches
from events.documents.json_schema import schema_of
from events.topics import ALL_TOPICS

ROOT = Path(__file__).parent.parent
SCHEMAS = ROOT / "events" / "schemas"
RELEASED = SCHEMAS / "released"
ASYNCAPI = ROOT / "docs" / "asyncapi.json"
PAGE = ROOT / "docs" / "events.md"
TOPICS = "topics.json"


def main(arguments: list[str] | None = None) -> int:
    """Write, check or release; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m events.schema", description=__doc__)
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit with 1 when a file is stale or a change is incompatible",
    )
    action.add_argument(
        "--release",
        action="store_true",
        help="write, and store the result as the schemas of the release",
    )
    options = parser.parse_args(arguments)
    incompatible = incompatible_changes()
    for line in incompatible:
        print(f"incompatible with the last release: {line}", file=sys.stderr)
    if options.check:
        stale = [path.relative_to(ROOT) for path in stale_files()]
        for path in stale:
            print(f"{path} differs from the models; run python -m events.schema", file=sys.stderr)
        return 1 if stale or incompatible else 0
    write()
    if options.release and not incompatible:
        release()
    return 1 if incompatible else 0


def generated_files() -> dict[Path, str]:
    """Return every generated file with its content. The same models always give the same bytes."""
    contract = {SCHEMAS / name: as_json(content) for name, content in contract_files().items()}
    return contract | {
        ASYNCAPI: as_json(asyncapi.document()),
        PAGE: reference.fill_sections(PAGE.read_text()),
    }


def contract_files() -> dict[str, Any]:
    """Return the contract of a release by file name: a schema per message, and the topics."""
    schemas = {
        f"{ce_type}.json": schema_of(model) for ce_type, model in sorted(EVENT_TYPES.items())
    }
    return schemas | {TOPICS: topics()}


def topics() -> dict[str, Any]:
    """Return the topics, each with its messages and their keys."""
    return {
        "topics": {
            topic.name: {
                "code": topic.code,
                "partitions": topic.partitions,
                "key": topic.key,
                "source": topic.source,
                "retention_ms": topic.retention_ms,
            }
            for topic in ALL_TOPICS
        },
        "messages": {
            ce_type: {"topic": model.topic.name, "key": model.key_field}
            for ce_type, model in sorted(EVENT_TYPES.items())
        },
    }


def stale_files() -> list[Path]:
    """Return the committed files that differ from the models: changed, missing or left over."""
    expected = generated_files()
    left_over = set(SCHEMAS.glob("*.json")) - expected.keys()
    changed = {
        path for path, text in expected.items() if not path.exists() or path.read_text() != text
    }
    return sorted(left_over | changed)


def incompatible_changes() -> list[str]:
    """Return the changes that break the last release, one line each; none when nothing was released yet."""
    now = contract_files()
    lines: list[str] = []
    for path in sorted(RELEASED.glob("*.json")):
        before = json.loads(path.read_text())
        if path.name == TOPICS:
            lines += topic_breaches(before, now[TOPICS])
        elif path.name in now:
            changes = breaches(before, now[path.name])
            lines += [f"{path.stem}: {line}" for line in changes]
    return lines  # a removed message shows in topics.json


def write() -> None:
    """Write all generated files, and delete the schemas of removed messages."""
    for path in stale_files():
        text = generated_files().get(path)
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def release() -> None:
    """Copy the present schemas to released/, with which later changes are compared."""
    RELEASED.mkdir(parents=True, exist_ok=True)
    for name, content in contract_files().items():
        (RELEASED / name).write_text(as_json(content))


def as_json(value: Any) -> str:
    """Return JSON in the committed format."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
