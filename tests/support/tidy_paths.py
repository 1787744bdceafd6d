"""File names: those that several product modules share, and the test files that mirror a module's path."""

from collections import defaultdict
from collections.abc import Container, Iterable
from pathlib import PurePosixPath

from tests.support.house import Source


def shared_file_names(
    files: Iterable[Source], named_otherwise: Container[str] = ()
) -> dict[str, list[str]]:
    """File names (without `.py`) that several modules have, with their paths.

    Folders in `named_otherwise` name their files by a rule of their own and are not counted.
    """
    paths: dict[str, list[str]] = defaultdict(list)
    for file in files:
        if file.folder not in named_otherwise:
            paths[PurePosixPath(file.path).stem].append(file.path)
    return {name: found for name, found in paths.items() if len(found) > 1}


def topical_tests(
    tests: Iterable[Source], product: Iterable[Source], topic_folders: Container[str] = ()
) -> set[str]:
    """Paths below tests/ of the test files that mirror neither a module nor a package.

    Folders (below tests/) in `topic_folders` are about one topic as a whole, and are skipped.
    """
    known = {file.path for file in product}
    return {
        path
        for path, file in ((_below_tests(file), file) for file in tests if _is_test(file))
        if path.rpartition("/")[0] not in topic_folders and not _mirrored(file, known)
    }


def mirrored_modules(tests: Iterable[Source], product: Iterable[Source]) -> set[str]:
    """Paths of the modules and packages that a test file mirrors."""
    known = {file.path for file in product}
    return {path for file in tests if _is_test(file) for path in _mirrored(file, known)}


def _mirrored(test: Source, known: Container[str]) -> list[str]:
    # `test_queue.py` and `test_queue_cost.py` mirror `queue.py`; `mailbox/test_mailbox.py` mirrors the package, and a
    # folder `queue/` the module.
    folder, _, name = _below_tests(test).rpartition("/")
    words = name.removeprefix("test_").removesuffix(".py").split("_")
    for end in range(len(words), 0, -1):
        path = "/".join(filter(None, (folder, "_".join(words[:end]))))
        found = [each for each in (f"{path}.py", f"{path}/__init__.py") if each in known]
        if found:
            return found
    if words == [PurePosixPath(folder).name]:
        return [each for each in (f"{folder}/__init__.py", f"{folder}.py") if each in known]
    return [each for each in (f"{folder}.py",) if each in known]


def _is_test(file: Source) -> bool:
    return PurePosixPath(file.path).name.startswith("test_")


def _below_tests(file: Source) -> str:
    return file.path.removeprefix("tests/")
