"""Alert rules and dashboard of deploy/worker: they ask for what the worker exposes, and alerts fire."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml
from pacs_helpers import NEEDS_ORTHANC, ROOT, free_port, images, ineligible, of, wait_until
from prometheus_client import CollectorRegistry, ProcessCollector

from covid_monai.worker.monitoring import Metrics, ScoreDrift, StateCollector

DEPLOY = ROOT / "deploy" / "worker"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
PANELS = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
QUERIES = {
    f"{panel['title']}, {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
EXPRESSIONS = {name: rule["expr"] for name, rule in RULES.items()} | QUERIES
OF_PROMETHEUS = {"job", "instance"}  # labels that it adds itself
NEEDS_PROMETHEUS = pytest.mark.skipif(
    None in map(shutil.which, ("prometheus", "promtool")),
    reason="needs Prometheus (apt-get install prometheus)",
)


@pytest.fixture(scope="module")
def exposed():
    """Names of all time series of a worker, with the names of their labels."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = Metrics(registry)
    for metric in (metrics.answered, metrics.refused, metrics.skipped):
        metric.labels("main", "x").inc()
    metrics.failures.labels("main", "fetch", "archive").inc()
    metrics.stages.labels("main", "total").observe(1)
    of_archives = ("queue_jobs", "dead_letters", "oldest_job_seconds", "archive_up")
    state = {name: {"main": 1.0} for name in of_archives}
    state |= {"storage_failing": {"": 0.0}, "decoder_failing": {"": 0.0}}

    class Drift(ScoreDrift):
        def stability_index(self):
            return {"normal": 0.1}

    registry.register(StateCollector(lambda: state, Drift(None, [])))
    samples = [sample for family in registry.collect() for sample in family.samples]
    told = {sample.name: set(sample.labels) for sample in samples if not sample.name.endswith("_created")}
    return {"up": set()} | told  # the service switches the times of creation off


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_each_expression_asks_for_series_and_labels_of_the_worker(exposed, name):
    expression = EXPRESSIONS[name]
    used = set(re.findall(r"\b(?:covid_monai|process)_\w+|\bup\b", expression))
    assert used
    assert used <= set(exposed), used - set(exposed)
    matched = re.findall(r"(\w+)\{([^}]*)\}", expression)
    for series, matchers in matched:
        labels = set(re.findall(r"(\w+)\s*(?:=|!)", matchers))
        assert labels <= exposed[series] | OF_PROMETHEUS
    grouped = {
        label
        for text in re.findall(r"(?:by|on) \(([^)]*)\)", expression)
        for label in text.split(", ")
        if label
    }
    assert grouped <= set().union(*(exposed[series] for series in used)) | OF_PROMETHEUS


@pytest.mark.parametrize("name", RULES)
def test_each_alert_says_what_to_do_and_names_labels_that_it_has(exposed, name):
    rule = RULES[name]
    assert set(rule["annotations"]) == {"summary", "action"}
    texts = " ".join(rule["annotations"].values())
    used = set(re.findall(r"(?:covid_monai|process)_\w+|\bup\b", rule["expr"]))
    labels = set().union(*(exposed[series] for series in used)) | OF_PROMETHEUS
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels
    assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_legends_of_the_dashboard_name_labels_that_a_query_has(exposed):
    for panel in PANELS:
        for target in panel["targets"]:
            used = re.findall(r"(?:covid_monai|process)_\w+|\bup\b", target["expr"])
            labels = set().union(*(exposed[series] for series in used)) | OF_PROMETHEUS
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels, panel["title"]


def test_every_metric_is_on_the_dashboard_or_in_an_alert(exposed):
    used = set(re.findall(r"covid_monai_\w+", " ".join(EXPRESSIONS.values())))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed if "covid_monai" in name}
    assert families == {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}


def test_panels_have_their_own_numbers_and_places():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_page_of_the_pacs_names_every_alert_file():
    page = (ROOT / "docs" / "pacs.md").read_text(encoding="utf-8")
    for name in ("alerts.yaml", "prometheus.yaml", "grafana.json"):
        assert f"deploy/worker/{name}" in page


# -- in Prometheus -------------------------------------------------------------------------------------------

JOB = 'job="covid-monai-worker", instance="w"'
REFUSED = f'covid_monai_refused_total{{{JOB}, archive="main", reason="blank"}}'
DRIFT = [f'covid_monai_score_drift_psi{{{JOB}, class="covid"}}', f"covid_monai_score_drift_images{{{JOB}}}"]
TOTAL = f'covid_monai_stage_seconds_bucket{{{JOB}, archive="main", stage="total"'
BUCKETS = [f'{TOTAL}, le="{bound}"}}' for bound in ("300", "3600", "+Inf")]
FAILURES = f'covid_monai_failures_total{{{JOB}, archive="main", stage="fetch", fault="unclear"}}'
UP = f'covid_monai_archive_up{{{JOB}, archive="main"}}'
ANSWERED = f'covid_monai_answered_total{{{JOB}, archive="main", class="covid"}}'
# Series in which an alert must fire, those in which it must not, and the minute when that is asked.
CASES = {
    "CovidMonaiWorkerDown": ({f"up{{{JOB}}}": "0x60"}, {f"up{{{JOB}}}": "1x60"}, 20),
    "CovidMonaiWorkerRestarts": (
        {f"process_start_time_seconds{{{JOB}}}": "1+1x60"},
        {f"process_start_time_seconds{{{JOB}}}": "1x30 2x30"},
        60,
    ),
    "CovidMonaiArchiveUnavailable": ({UP: "0x60"}, {UP: "0x5 1x60"}, 20),
    "CovidMonaiImagesWait": (
        {f'covid_monai_oldest_job_seconds{{{JOB}, archive="main"}}': "0+60x60"},
        {f'covid_monai_oldest_job_seconds{{{JOB}, archive="main"}}': "800x60"},
        40,
    ),
    "CovidMonaiDeadLetters": (
        {f'covid_monai_dead_letters{{{JOB}, archive="main"}}': "2x60"},
        {f'covid_monai_dead_letters{{{JOB}, archive="main"}}': "0x60"},
        10,
    ),
    "CovidMonaiStorageFailing": (
        {f"covid_monai_storage_failing{{{JOB}}}": "1x60"},
        {f"covid_monai_storage_failing{{{JOB}}}": "0x60"},
        20,
    ),
    "CovidMonaiDecoderFailing": (
        {f"covid_monai_decoder_failing{{{JOB}}}": "1x60"},
        {f"covid_monai_decoder_failing{{{JOB}}}": "0x60"},
        20,
    ),
    "CovidMonaiFailuresContinue": (
        {FAILURES: "0+1x300"},
        {FAILURES: "0+1x30 30x300"},
        240,
    ),
    "CovidMonaiRefusalsIncrease": (
        {REFUSED: "0+1x1008 1008+10x12"},
        {REFUSED: "0+10x1030"},
        10140,
    ),
    "CovidMonaiNothingAnswered": (
        {UP: "1x100", ANSWERED: "9x100"},
        {UP: "1x100", ANSWERED: "0+1x100"},
        900,  # three o'clock in the afternoon of a Thursday, 1 January 1970
    ),
    "CovidMonaiSlow": (
        dict(zip(BUCKETS, ("0x200", "0+1x200", "0+1x200"), strict=True)),
        dict(zip(BUCKETS, ("0+1x200", "0+1x200", "0+1x200"), strict=True)),
        120,
    ),
    "CovidMonaiScoreDrift": (
        dict(zip(DRIFT, ("0.5x120", "400x120"), strict=True)),
        dict(zip(DRIFT, ("0.5x120", "200x120"), strict=True)),
        90,
    ),
}


def test_every_alert_has_a_case():
    assert set(CASES) == set(RULES)


@NEEDS_PROMETHEUS
def test_the_files_pass_prometheus_own_check(tmp_path):
    for command in (["rules", "alerts.yaml"], ["config", "prometheus.yaml"]):
        done = subprocess.run(
            ["promtool", "check", *command], cwd=DEPLOY, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
    replaced = [
        query.replace("$__rate_interval", "5m").replace("$archive", ".*") for query in QUERIES.values()
    ]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(replaced)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@NEEDS_PROMETHEUS
@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_only_then(name, tmp_path):
    *both, minute = CASES[name]
    interval = "10m" if minute > 500 else "1m"  # between two values of a series, and between two evaluations
    tests = [
        {
            "interval": interval,
            "input_series": [{"series": series, "values": values} for series, values in given.items()],
            "promql_expr_test": [
                {
                    "expr": f'count by (alertname) (ALERTS{{alertname="{name}", alertstate="firing"}})',
                    "eval_time": f"{minute}m",
                    "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}] if fires else [],
                }
            ],
        }
        for given, fires in zip(both, (True, False), strict=True)
    ]
    path = tmp_path / "test.yaml"
    document = {"rule_files": [str(DEPLOY / "alerts.yaml")], "evaluation_interval": interval, "tests": tests}
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def prometheus(tmp_path):
    """Start Prometheus on the metrics of a worker; ask it for an expression."""
    processes = []

    def start(worker):
        content = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
        content["rule_files"] = [str(DEPLOY / "alerts.yaml")]
        content["global"] = {"evaluation_interval": "1s"}
        (job,) = content["scrape_configs"]
        job |= {"scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{worker.port}"]}]}
        config, port = tmp_path / "prometheus.yaml", free_port()
        config.write_text(yaml.safe_dump(content))
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
        with (tmp_path / "prometheus.log").open("w") as log:
            processes.append(
                subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
            )

        def ask(expression):
            query = urllib.parse.urlencode({"query": expression})
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=10
                ) as answer:
                    return json.load(answer)["data"]["result"]
            except (ConnectionError, urllib.error.URLError):
                return []

        return ask

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.slow
@NEEDS_ORTHANC
@NEEDS_PROMETHEUS
def test_each_query_of_the_dashboard_has_an_answer_from_a_real_worker(orthanc, started, prometheus, tmp_path):
    worker = started(of(orthanc), {**of("http://127.0.0.1:9"), "name": "gone"})
    ask = prometheus(worker)
    wait_until(lambda: ask("covid_monai_archive_up"), seconds=60, what="Prometheus' first question")
    orthanc.send(images(tmp_path / "images", 2) + ineligible(tmp_path / "others"))
    wait_until(lambda: worker.metric("answered_total") == 2, seconds=120)
    assert [found["metric"]["archive"] for found in ask("covid_monai_archive_up == 0")] == ["gone"]
    silent = {"Drift of the probabilities, A"}  # from 100 images on

    def without_answer():
        replaced = {
            name: query.replace("$__rate_interval", "5m").replace("$archive", ".*")
            for name, query in QUERIES.items()
        }
        return {name for name, query in replaced.items() if not ask(query)}

    wait_until(lambda: without_answer() <= silent, seconds=60, what=f"answers to {without_answer()}")
    worker.stop()
    wait_until(lambda: ask('ALERTS{alertname="CovidMonaiWorkerDown", alertstate="pending"}'), seconds=120)
