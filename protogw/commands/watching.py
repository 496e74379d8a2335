"""Everything that watches a running gateway, made out of its config: the access log and the metrics."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogw import __version__
from protogw.commands.terminal import CommandFailed, colours
from protogw.config.observing import signal_url
from protogw.observe.access_log import AccessLog, each
from protogw.observe.analytics import Analytics
from protogw.observe.analytics_store import Store
from protogw.observe.connection_log import console_connection, json_connection
from protogw.observe.console_line import coloured_line, console_line
from protogw.observe.json_line import json_lines
from protogw.observe.line_sink import LineSink
from protogw.observe.log_fields import chosen_line, dear, hide, parts, template_line
from protogw.observe.metrics import Metrics
from protogw.observe.query_secrets import keep_out
from protogw.observe.recorders import Recorder, all_of
from protogw.observe.tracing import Tracer
from protogw.policies.base import ReadsHeaders, ReadsQuery

if TYPE_CHECKING:
    from protogw.config import Config, Tracing
    from protogw.frontends.base import Handler
    from protogw.gateway import Gateway
    from protogw.observe.exposition import Exposition, Lag
    from protogw.observe.otlp import Export
    from protogw.policies.base import Target

Texts = dict[str, Callable[[str], Awaitable[tuple[str, bytes]]]]


class Watching:
    """Made before the gateway, since it is told of every request; shown the gateway once that is there.

    Made inside the loop. Raises CommandFailed with one line when the log cannot be written.
    """

    def __init__(self, config: Config, log_lock: str = "") -> None:
        self.access_log = access_log(config, log_lock)
        # Without an admin address or a collector nobody can ask for them.
        counts = config.metrics.enabled and (config.admin is not None or config.metrics.otlp is not None)
        self.metrics = Metrics(config.metrics.buckets, series=config.metrics.series) if counts else None
        self._written = config.metrics
        self._lag: Lag | None = None
        self._export: Export | None = None
        self.tracer = self._tracer(config.tracing) if config.tracing is not None else None
        kept = config.analytics
        self.analytics: Analytics | None = None
        if kept is not None:
            self.analytics = Analytics(Store(Path(kept.path)), every_s=kept.every, keep_s=kept.keep)

    @property
    def recorder(self) -> Recorder | None:
        """What learns of every request; None when nobody wants to."""
        return all_of(self.access_log, self.metrics, self.tracer, self.analytics)

    def around(self, handle: Handler) -> Handler:
        """What handles calls, with what watches them around it."""
        return self.tracer.around(handle) if self.tracer is not None else handle

    @property
    def over(self) -> Callable[[Target], Target] | None:
        """What is put over every upstream; None for nothing."""
        return self.tracer.over if self.tracer is not None else None

    def _tracer(self, written: Tracing) -> Tracer:
        from protogw.observe.otlp import Export, exporter

        sends = exporter(signal_url(written.otlp, "traces"), headers=written.headers, timeout_s=written.timeout)
        self._export = Export(sends, service=written.service, attributes=written.attributes, every_s=written.every)
        return Tracer(self._export, written.sample / 100, b3=written.b3, mark=written.mark_unsampled)

    def see(self, gateway: Gateway) -> Texts:
        """Watch this gateway from now on; returns the pages that the admin address has of it."""
        if self.access_log is not None:
            for policy in gateway.policies.values():
                if isinstance(policy, ReadsQuery):
                    keep_out(policy.query_names)
                if isinstance(policy, ReadsHeaders):
                    hide(policy.credential_headers)
        export = self._export
        if export is not None:
            name, what = "spans", "Finished spans, by what became of them."
            gateway.counts.total(name, what, lambda: export.sent, {"outcome": "sent"})
            gateway.counts.total(name, what, lambda: export.dropped, {"outcome": "no_room"})
            gateway.counts.total(name, what, lambda: export.failed, {"outcome": "not_taken"})
        analytics = self.analytics
        if analytics is not None:
            gateway.when_started(analytics.run, "analytics")
            what = "Calls that analytics could not keep."
            gateway.counts.total("analytics_lost_calls", what, lambda: analytics.lost, {})
        metrics = self.metrics
        if metrics is None:
            return {}
        from protogw.observe.exposition import Exposition, Lag

        gateway.streams = metrics.streamed
        metrics.routed(gateway.pools)
        gateway.watchers.append(lambda _: metrics.routed(gateway.pools))
        lag = self._lag = Lag(asyncio.get_running_loop())
        log = self.access_log
        shown: Exposition = Exposition(
            metrics,
            gateway,
            version=__version__,
            lag_s=lag.most_s,
            dropped=(lambda: log.dropped) if log is not None else None,
        )
        written = self._written
        if written.otlp is not None:
            from protogw.observe.otlp_metrics import Push

            push = Push(
                signal_url(written.otlp, "metrics"),
                shown.families,
                headers=written.headers,
                service=written.service,
                attributes=written.attributes,
                every_s=written.every,
                timeout_s=written.timeout,
            )
            gateway.when_started(push.run, "metrics to the collector")
        return {"metrics": shown.text}

    def reopen(self) -> None:
        """The log's file has been moved away: go on in a new one of the same name."""
        if self.access_log is not None:
            self.access_log.reopen()

    def close(self) -> None:
        """Write what is left."""
        if self._lag is not None:
            self._lag.close()
        if self._export is not None:
            self._export.close()
        if self.access_log is not None:
            self.access_log.close()


def access_log(config: Config, lock: str = "") -> AccessLog | None:
    """The access log that the config asks for; None when it is off. Call it inside the loop. `lock` is the file by
    which several processes take turns in writing it."""
    written = config.access_log
    if written.format == "off":
        return None
    stream = sys.stderr if written.path == "stderr" else sys.stdout if written.path == "stdout" else None
    try:
        sink = LineSink(written.path, lock=lock)
    except OSError as error:
        raise CommandFailed(f"access_log.path: {written.path}: cannot be written: {error.strerror}") from error
    options: dict[str, Any] = {"share": written.sample / 100}
    if written.slow is not None:
        options["slow_s"] = written.slow
    if "{" in written.format:
        options["wants"] = dear(parts(written.format)[1::2])
        return AccessLog(sink, each(template_line(written.format)), console_connection, **options)
    if written.fields:
        options["wants"] = dear(written.fields)
        return AccessLog(sink, each(chosen_line(written.fields)), json_connection, **options)
    terminal = stream is not None and stream.isatty()
    if written.format == "json" or (written.format == "auto" and not terminal):
        return AccessLog(sink, json_lines, json_connection, **options)
    shown = coloured_line if stream is not None and colours(stream) else console_line
    return AccessLog(sink, each(shown), console_connection, **options)
