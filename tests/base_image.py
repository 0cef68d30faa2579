"""A stand-in for the image of Lambda's Python, made of this machine's own files, where no image can be pulled.

The places are Lambda's: the interpreter in /var/lang, the runtime client and its bootstrap in /var/runtime. The
libraries are this machine's instead of Amazon Linux's, so it tells whether the artifact starts and answers in a
container, and not whether its wheels load on Amazon Linux.
"""

import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.building import run, run_any
from tests.lambda_parts import Runtime, Unavailable

TOOLS = ("sh", "mv", "chmod")
"""What the Dockerfile runs with which SAM puts its emulator into the image."""
LEFT_OUT = re.compile(r"(^|/)(test|tests|idlelib|site-packages|config-[^/]*|include|share)(/|$)|\.a$")
"""What a function does not need of a Python installation."""
NEEDED = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)
"""A library in what ldd prints, the loader included."""

BOOTSTRAP = """\
#!/bin/sh
export AWS_EXECUTION_ENV=AWS_Lambda_{interpreter} PYTHONPATH=/var/runtime
exec /var/lang/bin/{interpreter} -m awslambdaric "$_HANDLER"
"""
FILES = {
    "etc/passwd": "root:x:0:0::/:/bin/sh\nsbx_user1051:x:993:990::/home/sbx_user1051:/bin/sh\n",
    "etc/group": "root:x:0:\nsbx:x:990:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
ENVIRONMENT = {
    "LANG": "en_US.UTF-8",
    "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin",
    "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
    "LAMBDA_TASK_ROOT": "/var/task",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
}


def find_engine() -> None:
    """Looks for a Docker engine.

    Raises:
        Unavailable: None answers; says why.
    """
    if shutil.which("docker") is None:
        raise Unavailable("docker is not installed")
    asked = run_any("docker", "version", "--format", "{{.Server.Version}}")
    if asked.returncode:
        raise Unavailable(f"no Docker engine answers: {asked.stderr.strip()}")


@contextmanager
def base_image(runtime: Runtime, artifact: Path) -> Iterator[str]:
    """Makes the image under a name of its own, and removes it at the end, with those that SAM made of it.

    Args:
        runtime: The interpreter and the client.
        artifact: A function whose native libraries find in the image what they are linked to.
    """
    repository = f"extism-lambda-test-{uuid.uuid4().hex[:12]}"
    changes = [f"--change=ENV {name}={value}" for name, value in ENVIRONMENT.items()]
    command = ["docker", "import", *changes, "--change=WORKDIR /var/task", "-", f"{repository}:made"]
    try:
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as image:
                _fill(image, runtime, artifact)
            archive.seek(0)
            imported = subprocess.run(command, stdin=archive, capture_output=True, text=True, check=False)
        assert imported.returncode == 0, imported.stderr
        yield f"{repository}:made"
    finally:
        listed = run("listing images", "docker", "images", "--quiet", "--no-trunc", repository).split()
        for image_id in dict.fromkeys(listed):
            run("removing an image", "docker", "rmi", "--force", image_id)


def _fill(image: tarfile.TarFile, runtime: Runtime, artifact: Path) -> None:
    for name in ("tmp", "var/task", "opt"):
        folder = tarfile.TarInfo(name)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
        image.addfile(folder)
    for name, text in (*FILES.items(), ("var/runtime/bootstrap", BOOTSTRAP.format(interpreter=runtime.interpreter))):
        content = text.encode()
        file = tarfile.TarInfo(name)
        file.size, file.mode = len(content), 0o755
        image.addfile(file, io.BytesIO(content))
    image.add(runtime.lang, "var/lang", filter=_without_what_is_left_out)
    image.add(runtime.client, "var/runtime")

    tools = [Path(found) for tool in TOOLS if (found := shutil.which(tool))]
    python = [runtime.lang / "bin" / runtime.interpreter, *_libraries(runtime.lang, runtime.client, artifact)]
    linked = run_any("ldd", *tools, *python).stdout  # its exit code is 1 when one of them is linked to nothing
    needed = {Path(name) for name in NEEDED.findall(linked) if not name.startswith(str(runtime.lang))}
    for top in ("bin", "lib", "lib64"):
        if Path("/", top).is_symlink():
            image.add(Path("/", top), top)
    image.dereference = True
    for path in sorted({*tools, *needed}):
        place = Path(os.path.realpath(path.parent), path.name)  # not below a link, which would become a folder
        image.add(path, str(place.relative_to("/")))


def _libraries(*folders: Path) -> Iterable[Path]:
    """All shared libraries below folders."""
    for folder in folders:
        yield from (path for path in folder.rglob("*.so*") if path.is_file())


def _without_what_is_left_out(file: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if LEFT_OUT.search(file.name.removeprefix("var/lang")) else file
