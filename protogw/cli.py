"""The command line. Imports nothing of the gateway until a command runs, so that `--help` and completion are quick.

Exit codes: 0, it worked; 1, what was asked for failed (a bad config, a call that was not OK, an address in use); 2, the
command line itself is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from protogw import __version__
from protogw.commands.terminal import CommandFailed, colours, style

RUN = Group("Run", sort_key=1)
LOOK = Group("Look", sort_key=2)
HELP = Group("Help", sort_key=3)

EPILOGUE = (
    "Exit codes: 0 it worked, 1 what was asked for failed, 2 the command line is wrong. "
    "Start with `protogw demo`, or `protogw init --grpc HOST:PORT` and `protogw serve gateway.yaml`."
)

app = App(
    name="protogw",
    help="A multi-protocol translation gateway: REST, gRPC, gRPC-Web and Connect in front of any service, on one port.",
    help_epilogue=EPILOGUE,
    version=__version__,
    version_flags=["--version"],
    help_format="plaintext",
    group_commands=HELP,
    suppress_keyboard_interrupt=False,
)
app["--help"].group = HELP
app["--version"].group = HELP

ConfigFile = Annotated[Path, Parameter(help="The configuration file.", show_default=False)]
Format = Annotated[Literal["table", "json"], Parameter(help="How the result is printed.")]
Connect = Annotated[
    bool, Parameter(negative="--no-connect", help="Ask the services that describe themselves (gRPC reflection).")
]


@app.command(group=RUN)
def demo(
    *,
    port: Annotated[int, Parameter(help="The gateway's port; another one is taken when it is in use.")] = 8080,
    grpc_port: Annotated[int, Parameter(help="The sample service's port; 0 for any free one.")] = 0,
) -> None:
    """Start a sample gRPC service with the gateway in front of it, and print lines to try in every protocol."""
    from protogw.commands.demo import demo as run

    run(port, grpc_port)


@app.command(group=RUN)
def init(
    path: Annotated[Path, Parameter(help="The file to write.")] = Path("gateway.yaml"),
    /,
    *,
    grpc: Annotated[str | None, Parameter(help="HOST:PORT of a running gRPC service, asked by reflection.")] = None,
    listen: Annotated[str, Parameter(help="Where the gateway shall listen.")] = "127.0.0.1:8080",
    force: Annotated[bool, Parameter(negative=(), help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a commented configuration from what is found.

    Example: `protogw init --grpc 127.0.0.1:50051`
    """
    from protogw.commands.init import init as run

    run(path, grpc=grpc, listen=listen, force=force)


@app.command(group=RUN)
def serve(
    config: ConfigFile,
    /,
    *,
    log: Annotated[
        Literal["auto", "console", "json"],
        Parameter(help="The form of the program's own log on stderr; auto: console on a terminal, json elsewhere."),
    ] = "auto",
    verbose: Annotated[bool, Parameter(alias="-v", negative=(), help="Log details.")] = False,
) -> None:
    """Run the gateway until SIGTERM or SIGINT, then let calls in flight finish (`drain`).

    A second signal ends them. SIGUSR1 or SIGHUP opens the access log's file anew.
    """
    from protogw.commands.serving import serve as run

    run(config, log_json=None if log == "auto" else log == "json", verbose=verbose)


@app.command(group=LOOK)
def check(
    config: ConfigFile,
    /,
    *,
    connect: Annotated[
        bool, Parameter(negative=(), help="Also ask the services that describe themselves (gRPC reflection).")
    ] = False,
    strict: Annotated[bool, Parameter(negative=(), help="Let warnings fail the check as well.")] = False,
    write_lock: Annotated[
        bool, Parameter(negative=(), help="Write protogw.lock: the field numbers of services without a proto.")
    ] = False,
    against: Annotated[
        Path | None,
        Parameter(help="An older offer, as print-schema proto wrote it: what breaks its clients is an error."),
    ] = None,
    format: Annotated[Literal["text", "json"], Parameter(help="How faults are printed.")] = "text",
) -> None:
    """Find everything that is wrong with a configuration and its schemas, without serving.

    Routes that can never match are warnings.

    Example: `protogw check gateway.yaml --against released.binpb`
    """
    from protogw.commands.check import Wanted
    from protogw.commands.check import check as run

    wanted = Wanted(connect=connect, write_lock=write_lock, against=against)
    run(config, strict=strict, as_json=format == "json", wanted=wanted)


@app.command(group=LOOK)
def routes(
    config: ConfigFile,
    /,
    *,
    connect: Connect = True,
    all: Annotated[bool, Parameter(negative=(), help="Show the gateway's own services too.")] = False,
    format: Format = "table",
) -> None:
    """Show what is reachable, in every protocol."""
    from protogw.commands.routes import routes as run

    run(config, connect=connect, own=all, as_json=format == "json")


@app.command(group=LOOK)
def explain(
    config: ConfigFile,
    request: Annotated[
        str, Parameter(help="`GET /v1/shelves/1`, a method such as Library/GetShelf, or `tcp LISTENER [SERVER_NAME]`.")
    ],
    /,
    *,
    header: Annotated[
        tuple[str, ...], Parameter(alias="-H", negative=(), help="A header field of the request, `name: value`.")
    ] = (),
    data: Annotated[str | None, Parameter(alias="-d", help="The body of the request.")] = None,
    connect: Connect = True,
    format: Format = "table",
) -> None:
    """Show the way of one request: front end, method, policies, pool, translator, and what this pair cannot carry.

    Example: `protogw explain gateway.yaml 'GET /v1/shelves/1'`
    """
    from protogw.commands.explain import explain as run

    run(config, request, headers=header, data=data, connect=connect, as_json=format == "json")


@app.command(group=LOOK)
def call(
    config: ConfigFile,
    method: Annotated[str, Parameter(help="`package.Service/Method`, or as much of its end as is unique.")],
    data: Annotated[
        str | None,
        Parameter(help="The request as JSON; several, one a line, for a stream; `-` or nothing reads stdin."),
    ] = None,
    /,
    *,
    header: Annotated[
        tuple[str, ...], Parameter(alias="-H", negative=(), help="Metadata of the call, `name: value`.")
    ] = (),
    timeout: Annotated[str | None, Parameter(help="The deadline, such as 2s.")] = None,
    verbose: Annotated[bool, Parameter(alias="-v", negative=(), help="Show the reply's metadata on stderr.")] = False,
) -> None:
    """Make one call by the gateway's own path and print each reply as one line of JSON.

    The status goes to stderr when it is not OK, and the exit code is 1.

    Example: `protogw call gateway.yaml Library/GetShelf '{"name": "shelves/1"}'`
    """
    from protogw.commands.call import call as run

    run(config, method, data, headers=header, timeout=timeout, verbose=verbose)


@app.command(group=LOOK)
def print_schema(
    what: Annotated[Literal["openapi", "asyncapi", "graphql", "proto", "config"], Parameter(help="What to print.")],
    config: Annotated[Path | None, Parameter(help="The configuration file; not needed for `config`.")] = None,
    /,
    *,
    output: Annotated[
        Path | None, Parameter(alias=["-o", "--out"], help="A file or a folder to write to instead of stdout.")
    ] = None,
    format: Annotated[
        Literal["yaml", "json", "graphql", "proto", "descriptor-set"] | None,
        Parameter(help="The form; by the output's suffix, or the usual one."),
    ] = None,
    service: Annotated[
        tuple[str, ...], Parameter(negative=(), help="Only this service, by its full name; may be repeated.")
    ] = (),
    listener: Annotated[str | None, Parameter(help="What this listener offers; the first that offers it.")] = None,
    server: Annotated[
        tuple[str, ...], Parameter(negative=(), help="The URL that the document names; may be repeated.")
    ] = (),
    title: Annotated[str | None, Parameter(help="The document's title.")] = None,
    api_version: Annotated[str | None, Parameter(help="The document's version; changes with the schemas.")] = None,
    connect: Connect = True,
) -> None:
    """Print a schema of what is offered, or the JSON Schema of the configuration.

    Example: `protogw print-schema openapi gateway.yaml --output openapi.yaml`
    """
    from protogw.commands.print_schema import Wanted
    from protogw.commands.print_schema import print_schema as run

    wanted = Wanted(
        what=what,
        format=format or "",
        services=service,
        listener=listener,
        servers=server,
        title=title,
        version=api_version,
    )
    run(wanted, config, output=output, connect=connect)


@app.command(group=LOOK)
def kinds(*, format: Format = "table") -> None:
    """List what a configuration may name: front ends, upstream kinds, policies, balancers, with their settings."""
    from protogw.commands.kinds import kinds as run

    run(as_json=format == "json")


@app.command(group=LOOK)
def analytics(
    config: ConfigFile,
    /,
    *,
    by: Annotated[Literal["consumer", "method", "field"], Parameter(help="What the lines are of.")] = "method",
    since: Annotated[str, Parameter(help="How far back, such as 30m or 7d.")] = "1h",
    limit: Annotated[int, Parameter(help="Lines at the most, most calls first.")] = 50,
    format: Format = "table",
) -> None:
    """Show what was counted of consumers, methods and GraphQL fields, where the configuration says `analytics`.

    Example: `protogw analytics gateway.yaml --by consumer --since 7d`
    """
    from protogw.commands.analytics import analytics as run

    run(config, by=by, since=since, limit=limit, as_json=format == "json")


@app.command(group=RUN)
def healthcheck(
    address: Annotated[str, Parameter(help="The admin address of a running gateway.")] = "127.0.0.1:9901",
    /,
    *,
    timeout: Annotated[float, Parameter(help="Seconds to wait for the answer.")] = 2.0,
) -> None:
    """Ask a running gateway whether it is ready: for containers. Exit code 0 when it is, 1 when not."""
    from protogw.commands.healthcheck import healthcheck as run

    run(address, timeout)


@app.command(group=HELP)
def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"] | None, Parameter(help="The shell; the one that runs by default.")
    ] = None,
    /,
) -> None:
    """Print a completion script.

    Example: `protogw completion bash > ~/.local/share/bash-completion/completions/protogw`
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in ("bash", "zsh", "fish"):
        raise CommandFailed("name the shell: bash, zsh or fish", code=2)
    print(app.generate_completion(shell=name))  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; nothing that a user can do leads to a traceback."""
    try:
        app(
            list(sys.argv[1:] if arguments is None else arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        _complain(f"{_first_line(error)} (protogw --help)")
        return 2
    except CommandFailed as error:
        if error.message:
            _complain(error.message)
        return error.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of stdout has had enough; what is left cannot be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        if os.environ.get("PROTOGW_TRACEBACK"):
            raise
        _complain(f"a fault of protogw's own: {type(error).__name__}: {error} (PROTOGW_TRACEBACK=1 shows where)")
        return 1
    return 0


def _first_line(error: Any) -> str:
    return " ".join(str(error).split())


def _complain(message: str) -> None:
    """Each line of what is wrong, on stderr; lines that name their own file stand as they are."""
    lead = style("error:", "31", sys.stderr) if colours(sys.stderr) else "error:"
    lines = message.splitlines() or [""]
    print(f"{lead} {lines[0]}" if len(lines) == 1 else "\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
