"""A dashboard for the Grafana of Ray's own dashboard: how far every stage is, how fast, what failed, what it costs."""

import json
from typing import Any, NamedTuple

_WIDTH, _HEIGHT, _IN_ROW = 12, 8, 2  # of a panel in Grafana's grid of 24 columns; panels beside each other
_RATE = "5m"  # longer than four of Ray's reports and of Prometheus's usual looks


class _Panel(NamedTuple):
    title: str
    unit: str  # Grafana's name of it
    queries: tuple[tuple[str, str], ...]  # of Prometheus, each with its legend
    signed: bool = False  # whether it may be below 0


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate(ray_raysweep_{metric}_total[{_RATE}]))"


PANELS = (
    _Panel("Stages: part that is done", "percentunit",
           (("ray_raysweep_stage_done / ray_raysweep_stage_total", "{{stage}}"),)),
    _Panel("What failed", "short",
           (("ray_raysweep_stage_failed", "{{stage}}"),
            ("sum by (name) (ray_raysweep_failures_total)", "{{name}}"),
            ('sum(ray_raysweep_tune_trials_total{status="failed"})', "trials"))),
    _Panel("Tiling: slides left", "short", (("sum by (patch_set) (ray_raysweep_tile_left)", "{{patch_set}}"),)),
    _Panel("Tiling: seconds left", "s",
           (("sum by (patch_set) (ray_raysweep_tile_left) / -sum by (patch_set) (deriv(ray_raysweep_tile_left[10m]))",
             "{{patch_set}}"),)),
    _Panel("Tiling: slides per second", "short",
           tuple((_rate(f"tile_{end}", "patch_set"), f"{{{{patch_set}}}} {end}")
                 for end in ("done", "failed", "skipped"))),
    _Panel("Tiling: patches per second", "short", ((_rate("tile_patches", "patch_set"), "{{patch_set}}"),)),
    _Panel("Tiling: bytes per second", "Bps", ((_rate("tile_bytes", "patch_set"), "{{patch_set}}"),)),
    _Panel("Pretraining: images per second", "short",
           (("ray_raysweep_pretrain_images_per_second", "{{checkpoint}}"),)),
    _Panel("Pretraining: part of the time that waits for data", "percentunit",
           (("ray_raysweep_pretrain_wait_share", "{{checkpoint}}"),)),
    _Panel("Pretraining: loss", "short", (("ray_raysweep_pretrain_loss", "{{checkpoint}}"),), signed=True),
    _Panel("Pretraining: learning rate", "sci", (("ray_raysweep_pretrain_lr", "{{checkpoint}}"),)),
    _Panel("Search: trials that ended", "short",
           (("sum by (status) (ray_raysweep_tune_trials_total)", "{{status}}"),)),
    _Panel("Nodes: hours of this run", "short", (("max by (kind) (ray_raysweep_node_hours)", "{{kind}}"),)),
    _Panel("Nodes: dollars of this run, by compute.prices", "currencyUSD",
           (("max by (kind) (ray_raysweep_dollars)", "{{kind}}"),)),
    _Panel("Search: best value on val", "short", (("ray_raysweep_tune_best", "{{cell}}"),), signed=True),
)  # fmt: skip


def grafana_dashboard() -> str:
    """The dashboard as the JSON that Grafana reads from its folder of dashboards."""
    panels = [_panel(number, panel) for number, panel in enumerate(PANELS)]
    board = {
        "uid": "raysweep", "title": "raysweep", "tags": ["raysweep"], "schemaVersion": 39, "version": 1,
        "refresh": "10s", "time": {"from": "now-3h", "to": "now"}, "panels": panels,
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus",
                                 "current": {"text": "Prometheus", "value": "Prometheus"}}]},
    }  # fmt: skip
    return json.dumps(board, indent=2) + "\n"


def _panel(number: int, panel: _Panel) -> dict[str, Any]:
    row, column = divmod(number, _IN_ROW)
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number + 1, "type": "timeseries", "title": panel.title, "datasource": source,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit} | ({} if panel.signed else {"min": 0}), "overrides": []},
        "targets": [{"refId": chr(ord("A") + i), "expr": query, "legendFormat": legend, "datasource": source}
                    for i, (query, legend) in enumerate(panel.queries)],
    }  # fmt: skip
