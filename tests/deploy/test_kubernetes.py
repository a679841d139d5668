"""The manifests are valid and agree with the code: time-outs, settings, metrics, URLs."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from asr_service import metrics
from asr_service.serving.limits import ServerLimits, Timeouts
from asr_service.settings import Settings, load_settings
from deploy.manifests import KUBERNETES, OVERLAYS, Object, of_kind, overlay, pod_of, rendered, settings_of

KUBERNETES_VERSION = "1.32"
INSIDE = re.compile("/health.*|/metrics")
CUSTOM = {
    ("gateway.networking.k8s.io/v1", "Gateway"): {"gatewayClassName", "listeners"},
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): {"parentRefs", "hostnames", "rules"},
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {"jobLabel", "selector", "endpoints"},
    ("monitoring.coreos.com/v1", "PodMonitor"): {"selector", "podMetricsEndpoints"},
    ("keda.sh/v1alpha1", "ScaledObject"): {
        *(
            "scaleTargetRef",
            "minReplicaCount",
            "maxReplicaCount",
            "pollingInterval",
            "fallback",
            "advanced",
            "triggers",
        ),
    },
}
"""Fields of custom resources, from the definitions of their projects: no package has them."""
NOT_SETTINGS = {"HOME", "NVIDIA_DRIVER_CAPABILITIES"}


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> tuple[Object, ...]:
    return overlay(request.param)


def settings(objects: tuple[Object, ...], container: Object, **secrets: str) -> Settings:
    """Read the settings as the process in the container would, with the same refusals."""
    given = settings_of(objects, container) | secrets
    return load_settings(given, **{name[4:].lower(): value for name, value in given.items() if name[:4] == "ASR_"})


def metric_names() -> set[str]:
    text = metrics.render().decode()
    return set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))


def test_every_object_matches_its_schema(objects):
    """Objects match Kubernetes's own schemas without unknown fields; custom resources match theirs."""
    for each in objects:
        if fields := CUSTOM.get((each["apiVersion"], each["kind"])):
            assert set(each["spec"]) <= fields
        else:
            kubernetes_validate.validate(each, KUBERNETES_VERSION, strict=True)


def test_objects_are_in_one_namespace_with_unique_names(objects):
    """No object is in another namespace, and none overwrites another."""
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))
    assert {each["metadata"].get("namespace") for each in objects if each["kind"] != "Namespace"} == {"asr"}


def test_the_variables_are_settings_of_the_service(objects):
    """The service accepts each variable of each container, and the model is named: the job that downloads it has no GPU
    to choose it by."""
    containers = [*pod_of(objects)["initContainers"], *pod_of(objects)["containers"]]
    containers += pod_of(objects, "Job", "asr-service-model")["containers"]
    for container in containers:
        given = settings_of(objects, container)
        assert {name for name in given if not name.startswith("ASR_")} <= NOT_SETTINGS
        assert settings(objects, container).model not in {"auto", ""}


def test_time_outs_are_in_order(objects):
    """Each part waits longer than the part inside it.

    The proxy waits longer than the request, Kubernetes longer than Gunicorn, the startup probe longer than the model's
    load, and the liveness probe longer than the service's own recovery.
    """
    pod = pod_of(objects)
    (server,) = pod["containers"]
    given = settings(objects, server)
    timeouts = Timeouts.for_request(given.request_timeout_s)
    assert pod["terminationGracePeriodSeconds"] == timeouts.pod_s
    assert timeouts.graceful_s + int(server["lifecycle"]["preStop"]["exec"]["command"][1]) < timeouts.pod_s
    for notes in ingress_annotations(objects):
        for name in ("proxy-read-timeout", "proxy-send-timeout"):
            assert int(notes[f"nginx.ingress.kubernetes.io/{name}"]) == timeouts.proxy_s
    assert span_s(server["startupProbe"]) > given.model_load_timeout_s + ServerLimits().boot_margin_s
    assert span_s(server["livenessProbe"]) > ServerLimits().heartbeat_s + ServerLimits().tick_s


def span_s(probe: Object) -> int:
    """Return the seconds until a probe that always fails has its effect."""
    span: int = probe["periodSeconds"] * probe["failureThreshold"]
    return span


def test_probes_and_ingress_use_the_urls_of_the_service(objects):
    """Probes use URLs of the service. Clients reach all its endpoints, but neither health nor metrics."""
    offered = json.loads((Path(__file__).parent.parent / "api" / "docs" / "openapi.json").read_text())["paths"]
    (server,) = pod_of(objects)["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["path"] in offered
    assert server["startupProbe"]["httpGet"]["path"] == server["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert server["livenessProbe"]["httpGet"]["path"] == "/health/live"
    open_paths = published(objects)
    if not open_paths:
        return
    assert {"/openai/v1": "Prefix", "/transcribe": "Exact"}.items() <= open_paths.items()
    assert {"/": "Exact", "/page": "Prefix"}.items() <= open_paths.items()  # the page, which has no endpoint of its own
    for path in offered:
        assert reachable(path, open_paths) != bool(INSIDE.fullmatch(path)), path


def ingress_annotations(objects: tuple[Object, ...]) -> list[dict[str, str]]:
    """Return the annotations of the Ingress, in a list that is empty without one."""
    return [each["metadata"]["annotations"] for each in objects if each["kind"] == "Ingress"]


def published(objects: tuple[Object, ...]) -> dict[str, str]:
    """Return the paths that the Ingress, or the route of the Gateway, publishes, and how each is compared.

    Empty without both: the overlay for a laptop has no way in from outside the cluster.
    """
    if ingress_annotations(objects):
        (rule,) = of_kind(objects, "Ingress")["spec"]["rules"]
        return {path["path"]: path["pathType"] for path in rule["http"]["paths"]}
    if not any(each["kind"] == "HTTPRoute" for each in objects):
        return {}
    (rule,) = of_kind(objects, "HTTPRoute")["spec"]["rules"]
    paths = [match["path"] for match in rule["matches"]]
    return {path["value"]: path["type"].removeprefix("Path") for path in paths}


def reachable(path: str, open_paths: dict[str, str]) -> bool:
    return any(
        path == given or (kind == "Prefix" and path.startswith(given.rstrip("/") + "/"))
        for given, kind in open_paths.items()
    )


def test_the_ingress_passes_the_largest_upload(objects):
    """The proxy passes the largest upload on, so that the service itself refuses a larger one."""
    (server,) = pod_of(objects)["containers"]
    for notes in ingress_annotations(objects):
        limit = notes["nginx.ingress.kubernetes.io/proxy-body-size"]
        assert int(limit.removesuffix("m")) * 1024**2 > settings(objects, server).max_upload_bytes


def test_the_gateway_publishes_what_the_ingress_does_without_a_limit_of_time():
    """The proxy's limit would include the upload and the whole stream; its pods can connect to the service's."""
    objects = overlay("gateway")
    assert published(objects) == published(overlay("gpu"))
    gateway, route = of_kind(objects, "Gateway"), of_kind(objects, "HTTPRoute")["spec"]
    (rule,) = route["rules"]
    assert rule["timeouts"] == {"request": "0s"}
    (backend,) = rule["backendRefs"]
    service = of_kind(objects, "Service")
    assert (backend["name"], backend["port"]) == (service["metadata"]["name"], service["spec"]["ports"][0]["port"])
    listeners = {each["name"]: each for each in gateway["spec"]["listeners"]}
    assert listeners["https"]["tls"]["mode"] == "Terminate"
    for each in (route, of_kind(objects, "HTTPRoute", "redirect-to-https")["spec"]):
        (parent,) = each["parentRefs"]
        assert parent["name"] == gateway["metadata"]["name"]
        assert each["hostnames"] == [listeners[parent["sectionName"]]["hostname"]]
    policy = of_kind(objects, "NetworkPolicy", "asr-service-server")["spec"]["ingress"][0]["from"]
    admitted = [each["namespaceSelector"].get("matchLabels", {}) for each in policy]
    assert [each.get("kubernetes.io/metadata.name") for each in admitted] == [
        "envoy-gateway-system",
        "monitoring",
        None,
    ]


def test_the_overlay_for_a_laptop_needs_one_node_and_no_registry():
    """One pod, a volume that one node mounts, the old pod gone before the new one, and an image that is not pulled."""
    objects = overlay("laptop")
    assert [name for name in OVERLAYS if not published(overlay(name))] == ["laptop"]  # it needs no ingress controller
    deployment = of_kind(objects, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert of_kind(objects, "PersistentVolumeClaim", "asr-service-models")["spec"]["accessModes"] == ["ReadWriteOnce"]
    for pod in (pod_of(objects), pod_of(objects, "Job", "asr-service-model")):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["image"] == "asr-service:cpu"  # with the tag `latest` it would always be pulled
            assert "imagePullPolicy" not in container
    (server,) = pod_of(objects)["containers"]
    assert server["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}


def test_only_a_single_pod_has_jobs(objects: tuple[Object, ...]) -> None:
    """Another pod would not find them. Their volume outlives the pod, which ends before the next one starts."""
    (server,) = pod_of(objects)["containers"]
    state_dir = settings(objects, server).state_dir
    deployment = of_kind(objects, "Deployment")["spec"]
    assert (state_dir is not None) is (deployment.get("replicas") == 1)
    if state_dir is None:
        return
    assert deployment["strategy"] == {"type": "Recreate"}
    (mount,) = [each for each in server["volumeMounts"] if each["mountPath"] == str(state_dir)]
    (volume,) = [each for each in pod_of(objects)["volumes"] if each["name"] == mount["name"]]
    claim = of_kind(objects, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_jobs_can_be_added_to_an_overlay(name, tmp_path):
    """The component makes one pod of it, with the volume of the jobs."""
    objects = with_components(name, ["jobs"], tmp_path)
    test_only_a_single_pod_has_jobs(objects)
    assert of_kind(objects, "Deployment")["spec"]["replicas"] == 1
    test_volumes_are_mounted_where_the_settings_point(objects)
    for each in objects:
        kubernetes_validate.validate(each, KUBERNETES_VERSION, strict=True)


def test_pods_share_their_jobs_through_a_redis(tmp_path):
    """The component names the Secret with its URL, lets the pods reach it, and does not limit their number."""
    before, objects = overlay("gpu"), with_components("gpu", ["jobs-redis"], tmp_path)
    (server,) = pod_of(objects)["containers"]
    assert server["name"] == "server"
    assert {"secretRef": {"name": "asr-service-jobs"}} in server["envFrom"]
    assert of_kind(objects, "Deployment")["spec"].get("replicas") == of_kind(before, "Deployment")["spec"].get(
        "replicas"
    )
    egress = of_kind(objects, "NetworkPolicy", "asr-service-server")["spec"]["egress"]
    assert {each["port"] for rule in egress for each in rule["ports"]} == {53, 443, 6379, 6380}
    for each in objects:
        if (each["apiVersion"], each["kind"]) not in CUSTOM:
            kubernetes_validate.validate(each, KUBERNETES_VERSION, strict=True)


def test_job_workers_run_the_jobs_of_the_service(tmp_path):
    """They have the places of the jobs, the address of the service, their own key, and the network that they need."""
    objects = with_components("gpu", ["monitoring", "jobs-redis", "job-workers", "job-workers-keda"], tmp_path)
    for each in objects:
        if fields := CUSTOM.get((each["apiVersion"], each["kind"])):
            assert set(each["spec"]) <= fields
        else:
            kubernetes_validate.validate(each, KUBERNETES_VERSION, strict=True)
    (server,) = pod_of(objects)["containers"]
    assert settings(objects, server, ASR_JOBS_URL="redis://redis").jobs_runner == "workers"
    deployment = of_kind(objects, "Deployment", "asr-service-worker")["spec"]
    assert "replicas" not in deployment, "KEDA sets it"
    pod = deployment["template"]["spec"]
    (worker,) = pod["containers"]
    assert [each["secretRef"]["name"] for each in worker["envFrom"]] == ["asr-service-jobs", "asr-service-worker"]
    given = load_settings({each["name"]: each["value"] for each in worker["env"] if each["name"] not in NOT_SETTINGS})
    assert given.service_url == f"http://{of_kind(objects, 'Service')['metadata']['name']}"
    assert given.worker_port == worker["ports"][0]["containerPort"]
    assert worker["securityContext"] == server["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"]

    policies = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "NetworkPolicy"}
    labels = deployment["template"]["metadata"]["labels"]
    admitted = [
        each.get("podSelector", {}).get("matchLabels") for each in policies["asr-service-server"]["ingress"][0]["from"]
    ]
    assert any(each and each.items() <= labels.items() for each in admitted)
    policy = policies["asr-service-worker"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert {each["port"] for rule in policy["egress"] for each in rule["ports"]} == {"http", 53, 443, 6379, 6380}
    monitor = of_kind(objects, "PodMonitor", "asr-service-worker")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["podMetricsEndpoints"][0]["port"] == worker["ports"][0]["name"]
    (trigger,) = of_kind(objects, "ScaledObject", "asr-service-worker")["spec"]["triggers"]
    assert set(re.findall(r"asr_\w+", trigger["metadata"]["query"])) <= metric_names()
    assert trigger["metadata"]["threshold"] == str(given.worker_concurrency)


def test_every_container_is_restricted(objects):
    """Pods meet Kubernetes's restricted standard, with a read-only root file system and without a cluster token."""
    for pod in (pod_of(objects), pod_of(objects, "Job", "asr-service-model")):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"], container["name"]


def test_servers_have_no_way_out_and_the_job_no_way_in(objects):
    """A policy selects each pod by its labels: the servers cannot open connections, and the job cannot receive any."""
    policies = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]
    ways = {}
    for kind, name in (("Deployment", "asr-service"), ("Job", "asr-service-model")):
        labels = of_kind(objects, kind, name)["spec"]["template"]["metadata"]["labels"]
        (policy,) = [each for each in policies if each["podSelector"]["matchLabels"].items() <= labels.items()]
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        ways[kind] = bool(policy["ingress"]), bool(policy["egress"])
    assert ways == {"Deployment": (True, False), "Job": (False, True)}


def test_selectors_select_the_pods_of_the_server(objects):
    """Service, disruption budget and spread constraints select the pods of the server, not of the job."""
    server = of_kind(objects, "Deployment")["spec"]["template"]
    job = of_kind(objects, "Job", "asr-service-model")["spec"]["template"]
    selectors = [
        of_kind(objects, "Service")["spec"]["selector"],
        of_kind(objects, "Deployment")["spec"]["selector"]["matchLabels"],
        of_kind(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in server["spec"]["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector.items() <= server["metadata"]["labels"].items()
        assert not selector.items() <= job["metadata"]["labels"].items()


def test_volumes_are_mounted_where_the_settings_point(objects: tuple[Object, ...]) -> None:
    """Paths that the service writes are volumes, and volumes that it only reads are read-only."""
    (server,) = pod_of(objects)["containers"]
    given = settings(objects, server)
    mounts = {each["mountPath"]: each.get("readOnly", False) for each in server["volumeMounts"]}
    assert given.api_keys_file is not None
    keys = str(given.api_keys_file.parent)
    state = {} if given.state_dir is None else {str(given.state_dir): False}
    assert mounts == {str(given.model_dir): True, keys: True, str(given.socket_dir): False, "/tmp": False, **state}
    volumes = {each["name"]: each for each in pod_of(objects)["volumes"]}
    assert volumes["run"]["emptyDir"]["medium"] == "Memory"
    assert "medium" not in volumes["tmp"]["emptyDir"]


def test_a_pod_has_one_slot_and_its_resources():
    """On a CPU it has as many threads as it gets cores, not as its node has; otherwise one GPU."""
    (on_cpu,) = pod_of(overlay("cpu"))["containers"]
    given = settings(overlay("cpu"), on_cpu)
    assert (given.devices, str(given.model_threads)) == ("cpu", on_cpu["resources"]["requests"]["cpu"])
    (on_gpu,) = pod_of(overlay("gpu"))["containers"]
    given = settings(overlay("gpu"), on_gpu)
    assert (given.devices, given.model) == ("cuda:0", "large-v3")
    assert on_gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert str(given.decoders) == on_gpu["resources"]["requests"]["cpu"]


def test_only_autoscalers_set_the_number_of_pods():
    """Both scale by the waiting windows, up at once and down after ten minutes; applying the files resets nothing."""
    by_hpa = of_kind(overlay("autoscaling"), "HorizontalPodAutoscaler")["spec"]
    by_keda = of_kind(overlay("autoscaling-keda"), "ScaledObject")["spec"]
    assert by_keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == by_hpa["behavior"]
    assert by_hpa["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert by_hpa["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600
    assert (by_keda["minReplicaCount"], by_keda["maxReplicaCount"]) == (by_hpa["minReplicas"], by_hpa["maxReplicas"])
    for name in OVERLAYS:
        assert ("replicas" in of_kind(overlay(name), "Deployment")["spec"]) is not name.startswith("autoscaling")


def test_autoscalers_use_metrics_that_exist():
    """The adapter derives each metric of an HPA from one of the service; KEDA queries one directly."""
    rules = yaml.safe_load((KUBERNETES / "overlays/autoscaling/prometheus-adapter.yaml").read_text())["rules"]
    made = {rule["name"]["as"] for rule in rules}
    for name in ("autoscaling", "autoscaling-requests"):
        (metric,) = of_kind(overlay(name), "HorizontalPodAutoscaler")["spec"]["metrics"]
        assert metric["pods"]["metric"]["name"] in made
    (trigger,) = of_kind(overlay("autoscaling-keda"), "ScaledObject")["spec"]["triggers"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    asked = [rule["seriesQuery"] for rule in rules] + [trigger["metadata"]["query"]]
    for query in asked:
        assert set(re.findall(r"asr_\w+", query)) <= metric_names()
    (target,) = of_kind(overlay("autoscaling"), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert 1 <= int(target["pods"]["target"]["averageValue"]) <= 5
    assert trigger["metadata"]["threshold"] == target["pods"]["target"]["averageValue"]


def test_prometheus_finds_the_service():
    """The monitor selects the Service, its port and its path."""
    objects = overlay("autoscaling")
    monitor, service = of_kind(objects, "ServiceMonitor")["spec"], of_kind(objects, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "asr-service"  # the job's name in the rules
    (endpoint,) = monitor["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (service["spec"]["ports"][0]["name"], "/metrics")


def test_a_model_in_the_image_needs_neither_volume_nor_job(tmp_path):
    """With this component nothing is downloaded, and nothing refers to the removed objects."""
    objects = with_components("gpu", ["model-in-image"], tmp_path)
    pod = pod_of(objects)
    assert not {"Job", "PersistentVolumeClaim"} & {each["kind"] for each in objects}
    assert not pod.get("initContainers")
    assert {each["name"] for each in pod["volumes"]} == {each["name"] for each in pod["containers"][0]["volumeMounts"]}
    for each in objects:
        kubernetes_validate.validate(each, KUBERNETES_VERSION, strict=True)


def with_components(name: str, components: Sequence[str], folder: Path) -> tuple[Object, ...]:
    """Return the objects of an overlay with other components."""
    content = {
        "resources": [relative(folder, KUBERNETES / "overlays" / name)],
        "components": [relative(folder, KUBERNETES / "components" / each) for each in components],
        "namespace": "asr",
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return rendered(folder)


def relative(start: Path, target: Path) -> str:
    """Kustomize accepts no absolute path."""
    return "/".join([".."] * (len(start.resolve().parts) - 1) + list(target.resolve().parts[1:]))
