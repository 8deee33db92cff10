"""The Kubernetes files against the models of JobSet's and Kubernetes' own schemas."""

import copy

import pytest
import yaml
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

from tests.processes import ROOT
from vlfusion_jax.cli.main import COMMANDS

FILES = sorted((ROOT / "launch").glob("*.yaml"))


def faults(manifest: dict) -> list[str]:
    """Keys and values that the schema does not have: what it has comes back from it as it went in."""
    read = JobsetV1alpha2JobSet.from_dict(copy.deepcopy(manifest))
    return list(_differences(manifest, read.to_dict(), ""))


def _differences(given, read, path):
    if isinstance(given, dict) and isinstance(read, dict):
        for key in given:
            yield from _differences(given[key], read.get(key), f"{path}.{key}")
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif given != read:
        yield path


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def manifest(request):
    return yaml.safe_load(request.param.read_text())


def job(manifest):
    [replicated] = manifest["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def test_both_are_there():
    assert [path.name for path in FILES] == ["gke_jobset_gpu.yaml", "gke_jobset_tpu.yaml"]


def test_schema(manifest):
    assert faults(manifest) == []
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")


@pytest.mark.parametrize("level", ["jobset", "job", "pod", "container"])
def test_a_misspelt_key_is_found(manifest, level):
    pod = job(manifest)["template"]["spec"]
    where = {"jobset": manifest["spec"], "job": job(manifest), "pod": pod, "container": pod["containers"][0]}
    where[level]["comand"] = ["true"]
    assert [path.rsplit(".", 1)[1] for path in faults(manifest)] == ["comand"]


def test_a_wrong_type_is_refused(manifest):
    job(manifest)["parallelism"] = "four"
    with pytest.raises(ValueError, match="parallelism"):
        faults(manifest)


def test_what_the_schema_cannot_say(manifest):
    spec = job(manifest)
    assert spec["parallelism"] == spec["completions"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert container["args"][0] in COMMANDS
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    for rule in spec["podFailurePolicy"]["rules"]:
        assert rule.get("onExitCodes", {"containerName": container["name"]})["containerName"] == container["name"]
    variables = {each["name"]: each.get("value") for each in container.get("env", [])}
    if variables:  # on TPUs jax finds the others by itself
        assert variables["VLFUSION_NUM_PROCESSES"] == str(spec["completions"])
        name, [replicated] = manifest["metadata"]["name"], manifest["spec"]["replicatedJobs"]
        assert variables["VLFUSION_COORDINATOR_ADDRESS"].split(":")[0] == f"{name}-{replicated['name']}-0-0.{name}"
