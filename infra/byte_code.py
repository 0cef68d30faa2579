"""Compiles an artifact's byte code so that Lambda uses it: on a read-only disk, whatever a zip did to the times."""

from pathlib import Path

from infra.building import TASK_ROOT, BuildError, environment, run

# compileall answers False when a file has an error; which ones is seen from what is missing
PROGRAM = """
import compileall, py_compile, sys
if __name__ == "__main__":
    compileall.compile_dir(sys.argv[1], quiet=1, stripdir=sys.argv[1], prependdir=sys.argv[2], workers=0,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def compile_all(out: Path, interpreter: Path) -> list[str]:
    """Compiles every module below a folder into __pycache__, by hash and unchecked.

    Byte code that records its source's time is void once a zip has changed the times, and on Lambda's read-only disk
    it would be compiled again at every cold start. The code objects name /var/task instead of the folder, so that
    tracebacks point to where the code lies, and two builds into two folders give the same bytes.

    Args:
        out: the artifact; no byte code may lie in it.
        interpreter: a Python of the minor version that Lambda will run.

    Returns:
        The modules without byte code, relative to `out`: files of packages that are no valid Python of this version.

    Raises:
        BuildError: one of the handler's own modules is among these.
    """
    # -P: no module of the current folder may stand in for one of the standard library
    command = (interpreter, "-P", "-s", "-S", "-c", PROGRAM, out, TASK_ROOT)
    written = run("compiling the byte code", *command, env=environment(PYTHONHASHSEED="0"))
    missing = [
        path.relative_to(out)
        for path in sorted(out.rglob("*.py"))
        if not any((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
    ]
    if own := [path for path in missing if path.parts[0] == "handler"]:
        raise BuildError(f"{own[0]} cannot be compiled:\n{written.strip()}")
    return [str(path) for path in missing]
