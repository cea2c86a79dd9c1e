"""The files of configs/prometheus: their own checkers accept them, their rules fire and rest as they should."""

import json
import re

import pytest
from services.prometheus import CONFIGS, MISSING, WHY, check, files, receivers

needs_prometheus = pytest.mark.skipif(bool(MISSING), reason=WHY)
RULES_TEST = """
rule_files: [rules/recording.yml, rules/alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'up{job="airloom-model-server", instance="a:1"}'
        values: '1x30 0x10'
      - series: 'airloom_model_requests_total{model="bad", version="1", role="champion"}'
        values: '0+60x40'
      - series: 'airloom_model_errors_total{model="bad", version="1", role="champion", kind="failed"}'
        values: '0+6x40'
      - series: 'airloom_model_errors_total{model="bad", version="1", role="champion", kind="refused"}'
        values: '0+18x40'
      - series: 'airloom_model_requests_total{model="good", version="2", role="champion"}'
        values: '0+60x40'
      - series: 'airloom_model_errors_total{model="good", version="2", role="champion", kind="refused"}'
        values: '0+3x40'
      - series: 'airloom_predictions_total{model="good", version="2"}'
        values: '0+60x40'
      - series: 'airloom_outside_total{model="good", version="2"}'
        values: '0+1x40'
    promql_expr_test:
      - expr: airloom:model_failed:ratio5m
        eval_time: 20m
        exp_samples:
          - labels: 'airloom:model_failed:ratio5m{model="bad", version="1", role="champion"}'
            value: 0.1
    alert_rule_test:
      - {alertname: AirloomServerDown, eval_time: 20m}
      - {alertname: AirloomModelRefuses, eval_time: 5m}
      - {alertname: AirloomInputsOutside, eval_time: 40m}
      - alertname: AirloomModelRefuses
        eval_time: 20m
        exp_alerts:
          - exp_labels: {model: bad, version: "1", role: champion, severity: page, airloom: monitor}
            exp_annotations:
              summary: "bad/1 refuses the inputs of 30% of its requests"
              description: "Its inputs have another form than in training: a data fault, which no retraining mends."
"""


@needs_prometheus
def test_their_own_checkers_accept_the_files(tmp_path):
    files(tmp_path)
    check("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
    assert "SUCCESS: 7 rules" in check("promtool", "check", "rules", str(tmp_path / "rules" / "alerts.yml"))
    check("amtool", "check-config", str(tmp_path / "alertmanager.yml"))


@needs_prometheus
def test_rules_fire_for_what_is_bad_and_rest_for_what_is_good(tmp_path):
    path = files(tmp_path) / "test.yml"
    path.write_text(RULES_TEST)
    assert "SUCCESS" in check("promtool", "test", "rules", str(path))


@needs_prometheus
def test_only_what_a_monitor_can_judge_goes_to_ours(tmp_path):
    config = files(tmp_path) / "alertmanager.yml"
    routes = {
        "airloom=monitor severity=page": "airloom,people",
        "severity=page alertname=AirloomServerDown": "people",
        "": "people",
    }
    for labels, told in routes.items():
        assert receivers(config, *labels.split()) == told


def test_rules_and_dashboard_name_series_that_there_are():
    from airloom_serving.metrics import Metrics

    metrics = Metrics()
    counted = {
        sample for registry in (metrics._registry, metrics._of_models) for sample in registry._names_to_collectors
    }
    dashboard = json.loads((CONFIGS / "grafana-dashboard.json").read_text())
    texts = [path.read_text() for path in (CONFIGS / "rules").glob("*.yml")] + [json.dumps(dashboard)]
    recorded = set(re.findall(r"record: (\S+)", "\n".join(texts)))
    used = {name for text in texts for name in re.findall(r"\bairloom_[a-z_]+\b(?=[{\[, ])", text)}
    assert {"airloom_model_requests_total", "airloom_model_seconds_bucket"} <= used <= counted
    assert {name for text in texts for name in re.findall(r"\bairloom:[a-z_]+:\w+", text)} == recorded
