"""`covid-monai` and `python` for the scripts of the documents, without seconds of imports for each command.

A server has imported what they need; for each command it forks, and the child runs the program as a person
would have called it: arguments, folder, environment, streams, exit code. `python docs_programs.py SOCKET` is
the server; `Programs` writes the small scripts that ask it, to be put in front of PATH.
"""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = json.dumps([{program!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(words).to_bytes(8, "big")], [0, 1, 2])
server.sendall(words)
child = int.from_bytes(server.recv(4), "big")
signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
code = server.recv(1)
sys.exit(code[0] if code else 70)
"""


class Programs:
    """The server, and the folder of scripts that use it.

    Args:
        folder: New; for the socket and the scripts.
        smaller: Added to the command line of each training.
    """

    def __init__(self, folder: Path, *, smaller: dict[str, object]) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        address = str(folder / "socket")
        for program in ("covid-monai", "python"):
            script = self.folder / program
            script.write_text(CLIENT.format(python=sys.executable, address=address, program=program))
            script.chmod(0o755)
        words = [word for name, value in smaller.items() for word in (f"--{name}", str(value))]
        # A group of its own, so that whatever a test has started ends with it.
        self._server = subprocess.Popen(
            [sys.executable, __file__, address, *words], start_new_session=True, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 180
        while not Path(address).exists():
            assert self._server.poll() is None, "the programs did not start"
            assert time.monotonic() < deadline, "the programs did not start in time"
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and its children."""
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait(timeout=60)


def serve(address: str, smaller: list[str]) -> None:
    """Answer until killed."""
    # What takes the time; nothing is computed before the fork, so that no thread is lost in it.
    import monai.bundle
    import monai.data
    import monai.engines
    import monai.handlers
    import monai.transforms  # noqa: F401

    import covid_monai.cli.main
    import covid_monai.inference.classifier
    import covid_monai.training.decisions
    import covid_monai.training.handlers
    import covid_monai.training.tracking  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(16)
    Path(f"{address}.new").rename(address)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os._exit(_answer(connection, smaller))
        connection.close()
        while _reaped():
            pass


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def _answer(connection: socket.socket, smaller: list[str]) -> int:
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as stream:
        program, arguments, folder, environment = json.loads(stream.read(int.from_bytes(size, "big")))
    connection.sendall(os.getpid().to_bytes(4, "big"))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = 1
    try:
        _run(program, arguments, smaller)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001  # a forked process ends here, whatever a program raises
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([code]))
    return code


def _run(program: str, arguments: list[str], smaller: list[str]) -> None:
    sys.path[:0] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if program == "covid-monai":
        from covid_monai.cli.main import main

        sys.argv = [program, *arguments]
        if arguments[:1] == ["train"]:
            values = zip(smaller[::2], smaller[1::2], strict=True)
            settings = (f"{name[2:]}={'null' if value == '$None' else value}" for name, value in values)
            sys.argv += [word for setting in settings for word in ("--set", setting)]
        main()
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        if arguments[1:3] == ["monai.bundle", "run"] and arguments[3] in ("training", "find_lr", "average"):
            sys.argv += smaller
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
