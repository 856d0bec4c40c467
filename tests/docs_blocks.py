"""The fenced blocks of the README and the documents, and what can be said of a command without running it."""

import itertools
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
import yaml
from markdown_it import MarkdownIt

from covid_monai.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")),
        *(ROOT / "bundles").glob("*/docs/README.md"),
        *(path for path in (ROOT / "docs").rglob("*.md")),
    ]
)
# A comment before a block: `<!-- not run: why -->`, or `<!-- serves: a page that answers once it runs -->`.
MARKER = re.compile(r"<!-- (not run|serves): (.*?) -->")
# Programs of others; of their arguments only files of this repository are looked at.
FOREIGN = {
    *("cd", "cp", "curl", "echo", "export", "grep", "install", "jupyter", "printf", "rm", "sed", "systemctl"),
    *("unzip", "pre-commit", "conda", "monailabel", "chmod", "."),
}


@dataclass(frozen=True)
class Block:
    """One fenced block: `page:line`, its language, its text, and the marker before it."""

    page: Path
    line: int
    language: str
    text: str
    marker: str
    why: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in its order."""
    tokens = [t for t in MarkdownIt().parse(page.read_text(encoding="utf-8")) if t.type != "paragraph_open"]
    found = []
    for before, token in itertools.pairwise([None, *tokens]):
        if token.type != "fence":
            continue
        marker = MARKER.fullmatch(before.content.strip()) if before and before.type == "html_block" else None
        kind, why = marker.groups() if marker else ("", "")
        language = token.info.split()[0] if token.info else ""
        if token.content.startswith("--8<--"):
            continue  # a file of docs/examples, which tests/docs/test_examples.py runs
        found.append(Block(page, token.map[0] + 1, language, token.content, kind, why))
    return found


def spans(page: Path) -> Iterator[str]:
    """Code within text."""
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or []:
            if child.type == "code_inline":
                yield child.content


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a script, in words; variables as they are set there."""
    variables: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        for operator, words in itertools.groupby(lexer, key=lambda word: word in {"&&", "|", ";"}):
            command = [_filled_in(word, variables) for word in words]
            if ">" in command:
                command = command[: command.index(">")]
            while command and re.match(r"[A-Z_]+=", command[0]):
                name, value = command.pop(0).split("=", 1)
                variables[name] = value
            if command and not operator:
                yield command


def _filled_in(word: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        word = word.replace(f"${name}", value)
    return word


def check(command: list[str]) -> None:
    """Say what is wrong with a command that is not run: no such option, target, file or extra."""
    program, *arguments = command
    name = program.rsplit("/", 1)[-1]
    ways = {"covid-monai": check_ours, "make": _check_make, "pip": _check_extras}
    if name in ways:
        ways[name](arguments)
    elif "monai.bundle" in arguments:
        _check_bundle_run(arguments[arguments.index("monai.bundle") :])
    else:
        assert name in FOREIGN, f"nobody knows {name}: {shlex.join(command)}"
    for word in command:
        _check_files(word)


def check_ours(arguments: list[str], *, whole: bool = True) -> None:
    """Parse arguments of `covid-monai` as it does, and run nothing; of a part of a command its options."""
    command, names = typer.main.get_command(app), ["covid-monai"]
    while arguments and arguments[0] in getattr(command, "commands", {}):
        names.append(arguments[0])
        command, arguments = command.commands[arguments[0]], arguments[1:]
    known = {"--help", "-h"}
    known |= {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    used = {word.split("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
    assert used <= known, f"{' '.join(names)} has no {used - known}"
    # Options such as --install-completion act while they are parsed: those are only looked up.
    acting = {option for parameter in command.params if parameter.callback for option in parameter.opts}
    if whole and not used & acting:
        command.make_context(names[-1], list(arguments))


def _check_make(arguments: list[str]) -> None:
    if "-C" in arguments:
        place = arguments.index("-C")
        arguments = arguments[:place] + arguments[place + 2 :]
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def _check_extras(arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"covid-monai\[([\w,]+)\]", " ".join(arguments)):
        assert set(extra.split(",")) <= set(project["optional-dependencies"]), extra


def _check_bundle_run(arguments: list[str]) -> None:
    """What is set on the command line occurs in the config files; those of a run folder are not there."""
    settings = dict(pair for pair in itertools.pairwise(arguments) if pair[0].startswith("--"))
    files = [ROOT / file for file in re.findall(r"[\w./]+\.yaml", settings.get("--config_file", ""))]
    if not files or not all(file.is_file() for file in files):
        return
    known = {"config_file", "bundle_root", "meta_file", "ckpt_file", "net_id", "key_in_ckpt", "filepath"}
    known |= {"precision", "dynamic_batchsize"}
    for file in files:
        known |= set(yaml.safe_load(file.read_text(encoding="utf-8")))
    unknown = {name.removeprefix("--").split("::")[0] for name in settings} - known
    assert not unknown, f"{unknown} are set in none of {files}"


def _check_files(word: str) -> None:
    for path in re.findall(r"\b(?:deploy|configs|bundles|benchmarks|tests|docs)/[\w./*-]+", word):
        if path.split("/")[0] == "configs" and not (ROOT / path).exists():
            path = f"bundles/covid_cxr_classification/{path}"
        assert list(ROOT.glob(path.rstrip("/"))), f"{path} is not there"
