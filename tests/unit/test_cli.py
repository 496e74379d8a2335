"""The command line as such: what it imports, how it refuses, which codes it exits with."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import protogw
from protogw.cli import main
from tests.unit.config.test_load import SMALLEST

ROOT = Path(__file__).parents[2]

COMMANDS = [
    *("demo", "init", "serve", "check", "routes", "explain", "call", "print-schema"),
    *("kinds", "healthcheck", "completion"),
]


def ran(*arguments: str) -> int:
    return main(arguments)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("--help") == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert command in shown
    assert "Exit codes" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(command, "--help") == 0
    assert f"protogw {command}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from protogw.cli import main; code = main(['--help']); "
        "heavy = [name for name in ('pydantic', 'google.protobuf', 'grpc', 'aiohttp', 'protogw.assembly', 'protobuf') "
        "if name in sys.modules]; print(heavy, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.strip() == "[]"


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("--version") == 0
    assert capsys.readouterr().out.strip() == protogw.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == protogw.__version__


@pytest.mark.parametrize(
    "arguments",
    [
        ["serv", "gateway.yaml"],
        ["serve"],
        ["serve", "a.yaml", "b.yaml"],
        ["routes", "a.yaml", "--nosuch"],
        ["routes", "a.yaml", "--format", "xml"],
        ["print-schema", "nosuch"],
        ["print-schema", "proto"],
        ["demo", "--port", "http"],
        ["completion", "csh"],
        ["healthcheck", "nowhere"],
        ["init", "--listen", "8080"],
        ["init", "--grpc", "localhost"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_told_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ran(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["serve", "check", "routes", "explain", "call"])
def test_a_bad_config_fails_every_command_with_every_fault(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gateway.yaml").write_text(SMALLEST + "drian: 5s\nadmim: off\n")
    more = {"explain": ["GET /"], "call": ["A/B"]}.get(command, [])
    assert ran(command, "gateway.yaml", *more) == 1
    assert capsys.readouterr().err.splitlines() == [
        'gateway.yaml:6:1: drian: unknown key; did you mean "drain"?',
        'gateway.yaml:7:1: admim: unknown key; did you mean "admin"?',
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("completion", shell) == 0
    assert "print-schema" in capsys.readouterr().out


def test_completion_without_a_known_shell_asks_for_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert ran("completion") == 2
    assert capsys.readouterr().err == "error: name the shell: bash, zsh or fish\n"


def test_an_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("protogw.commands.kinds.kinds", interrupted)
    assert ran("kinds") == 130
    assert capsys.readouterr() == ("", "")


def test_a_fault_of_our_own_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("x")

    monkeypatch.setattr("protogw.commands.kinds.kinds", broken)
    assert ran("kinds") == 1
    told = "error: a fault of protogw's own: ZeroDivisionError: x (PROTOGW_TRACEBACK=1 shows where)\n"
    assert capsys.readouterr().err == told


def test_there_is_no_colour_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    ran("--help")
    ran("kinds")
    ran("nosuch")
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err


def test_kinds_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("kinds") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PART", "KIND", "SETTINGS", "WHAT", "IT", "IS"]
    assert any(line.split()[:2] == ["balancer", "round_robin"] for line in lines)


def test_the_public_names_are_these() -> None:
    assert protogw.__all__ == ["Config", "ConfigError", "Gateway", "__version__", "build", "load"]
    for name in protogw.__all__:
        assert getattr(protogw, name) is not None
    with pytest.raises(AttributeError):
        _ = protogw.nosuch


def test_the_docs_name_every_command() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    for command in COMMANDS:
        assert f"| `protogw {command}" in page


def test_the_documented_configs_are_read(tmp_path: Path) -> None:
    """The files that they name are made here, so that nothing but their reading can fail."""
    from protogw.assembly import KINDS
    from protogw.config import inspect
    from tests.unit.config.test_load import certificate

    certificate(tmp_path, "server")
    certificate(tmp_path, "client")
    for name in ("clients.pem", "ca.pem"):
        (tmp_path / name).write_bytes((tmp_path / "server.pem").read_bytes())
    (tmp_path / "protos").mkdir()
    for name in ("protos/library.proto", "users.proto", "feed.proto", "shop.openapi.yaml"):
        (tmp_path / name).touch()
    shutil.copy(ROOT / "examples" / "custom-policy" / "tenants.py", tmp_path)
    blocks = (ROOT / "docs" / "config.md").read_text().split("```yaml\n")[1:]
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "gateway.yaml").write_text(block.partition("```")[0])
        assert inspect(tmp_path / "gateway.yaml", KINDS)[1] == []
