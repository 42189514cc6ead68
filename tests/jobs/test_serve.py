"""`maskmill serve`: the masks of `prelabel`, Label Studio's contract, and what it refuses."""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import jsonschema
import numpy as np
import openapi_spec_validator
import pytest
import requests
from PIL import Image
from safetensors.torch import save_file

from maskmill.pipeline.datasets.documents.label_studio_brush import brush_to_mask
from maskmill.pipeline.datasets.documents.label_studio_config import labeling_config
from maskmill.pipeline.masks.polygons import rings_to_mask
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.prelabel.labeller import Labeller
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.labels import LabelMap
from tests.jobs.in_process import run_in_process
from tests.jobs.served import TOKEN, FileHost, Served, file_host, served
from tests.pipeline.prelabel.pointwise_network import build, pointwise_spec
from tests.sick_images import write_sick_images, write_small_pictures

LABELS = LabelMap.from_names("five", ["ground", "cat", "dog", "car", "tree"])
SETTINGS = {
    "model": "pointwise",
    "untrained": True,
    "image_size": None,
    "block_images": None,
    "precision": "fp32",
}
"""A network that is done at once, and sees every class in every picture."""

CONFIG = labeling_config(LABELS, "brushlabels")
JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module", autouse=True)
def model() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "pointwise", pointwise_spec(LABELS))
        yield


def prelabelled(source: Path, out: Path, **settings: object) -> RunLayout:
    return run_in_process(source, out, **{**SETTINGS, **settings})


def labeller(**settings: object) -> Labeller:
    return Labeller(PrelabelSettings(source="", out="", **{**SETTINGS, **settings}), device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound pictures of several kinds, one of them turned by EXIF."""
    folder = tmp_path_factory.mktemp("photos")
    write_small_pictures(folder, 3, seed=8)
    turned = Image.Exif()
    turned[0x0112] = 6
    noise = np.random.default_rng(4).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "turned.jpg", exif=turned)
    return folder


@pytest.fixture(scope="module")
def network() -> Labeller:
    return labeller()


@pytest.fixture(scope="module")
def host(photos: Path) -> Iterator[FileHost]:
    """A Label Studio's files: every picture as an upload."""
    with file_host() as files:
        for path in pictures_of(photos):
            files.files[f"/data/upload/1/{path.name}"] = path.read_bytes()
        yield files


@pytest.fixture(scope="module")
def server(network: Labeller, host: FileHost) -> Iterator[Served]:
    with served(network, host.url) as one:
        yield one


def pictures_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def tasks_of(*values: object) -> list[dict[str, object]]:
    return [{"id": number, "data": {"image": one}} for number, one in enumerate(values, 1)]


def predict(server: Served, *values: object, config: str = CONFIG) -> list[dict[str, object]]:
    """As Label Studio 1.23 asks."""
    body = {
        "tasks": tasks_of(*values),
        "project": "3.1763760000",
        "label_config": config,
        "params": {"login": None, "password": None, "context": None},
    }
    answer = requests.post(f"{server.url}/predict", json=body, timeout=100)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["model_version"] == server.version
    return document["results"]


def test_a_picture_gets_the_file_and_the_annotations_of_prelabel(
    server: Served, photos: Path, tmp_path: Path
) -> None:
    for path in pictures_of(photos):
        run = prelabelled(path, tmp_path / path.name)
        (mask,) = pictures_of(Path(run.path("masks")))
        document = json.loads(run.read("annotations.json"))
        raw = requests.post(
            f"{server.url}/predict",
            data=path.read_bytes(),
            headers={"Content-Type": "application/octet-stream"},
            timeout=100,
        )
        assert raw.headers["Content-Type"] == "image/png"
        assert raw.content == mask.read_bytes()
        with path.open("rb") as stream:
            form = requests.post(
                f"{server.url}/predict", files={"image": stream}, headers=JSON, timeout=100
            )
        for part in ("images", "categories", "annotations"):
            assert form.json()[part] == document[part]
        assert form.headers["X-Model-Version"] == server.version


@pytest.mark.parametrize(
    "rules",
    [
        {"segments": "component", "min_area": 40, "min_confidence": 0.5},
        {"flip": True, "scales": (0.5, 1.0)},
        {"batch_size": 3},
    ],
)
def test_the_options_of_prelabel_are_its_own(
    rules: dict[str, object], photos: Path, tmp_path: Path
) -> None:
    run = prelabelled(photos, tmp_path / "run", **rules)
    wanted = {row["key"]: row for row in run.read_table(run.metadata).to_pylist()}

    def asked(path: Path) -> bytes:
        headers = {"Content-Type": "image/any"}
        return requests.post(
            f"{one.url}/predict", data=path.read_bytes(), headers=headers, timeout=100
        ).content

    with served(labeller(**rules)) as one:
        paths = pictures_of(photos) * 2
        with ThreadPoolExecutor(len(paths)) as pool:  # side by side: sizes meet in one group
            masks = list(pool.map(asked, paths))
        for path, mask in zip(paths, masks, strict=True):
            key = path.relative_to(photos).as_posix()
            assert mask == (tmp_path / "run" / wanted[key]["mask_path"]).read_bytes()


def test_the_version_tells_weights_and_settings_apart(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file(build(len(LABELS.classes)).state_dict(), path)
    own = {"weights": str(path), "untrained": False}
    version = f"pointwise@sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    assert labeller(**own).version() == version
    assert labeller(**own, batch_size=2).version() == version
    others = {labeller(**own, min_area=one).version() for one in (5, 6)}
    assert len(others) == 2 and all(one.startswith(f"{version} settings ") for one in others)
    assert labeller().version() == "pointwise (untrained)"


def test_tasks_get_regions_that_are_the_mask(
    server: Served, photos: Path, network: Labeller, tmp_path: Path
) -> None:
    run = prelabelled(photos, tmp_path / "run")
    rows = {row["key"]: row for row in run.read_table(run.metadata).to_pylist()}
    paths = pictures_of(photos)
    results = predict(server, *(f"/data/upload/1/{path.name}" for path in paths))
    by_name = {name: index for index, name in enumerate(network.choice.labels.names)}
    for path, prediction in zip(paths, results, strict=True):
        with Image.open(
            tmp_path / "run" / rows[path.relative_to(photos).as_posix()]["mask_path"]
        ) as file:
            wanted = np.asarray(file)
        drawn = np.zeros_like(wanted)
        for region in prediction["result"]:
            assert (region["from_name"], region["to_name"]) == ("tag", "image")
            size = (region["original_height"], region["original_width"])
            inside = brush_to_mask(region["value"]["rle"], size, name="region")
            drawn[inside] = by_name[region["value"]["brushlabels"][0]]
        assert np.array_equal(drawn, wanted)
        assert 0 < prediction["score"] <= 1
        assert prediction["left_out"] == []
        assert prediction["model_version"] == server.version


def test_the_project_names_its_tags_and_labels(server: Served, photos: Path) -> None:
    path = pictures_of(photos)[0]
    plain = predict(server, f"/data/upload/1/{path.name}")[0]
    found = [region["value"]["brushlabels"][0] for region in plain["result"]]
    assert len(found) >= 3
    config = (
        '<View><Image name="photo" value="$picture"/><PolygonLabels name="shapes" toName="photo">'
        f'<Label value="Thing" predicted_values="x, {found[0]}"/></PolygonLabels></View>'
    )
    body = {
        "tasks": [{"id": 5, "data": {"picture": f"/data/upload/1/{path.name}"}}],
        "label_config": config,
    }
    answer = requests.post(f"{server.url}/predict", json=body, timeout=100).json()["results"][0]
    assert answer["left_out"] == found[1:]
    width, height = Image.open(path).size
    rings = []
    for region in answer["result"]:
        assert (region["type"], region["from_name"]) == ("polygonlabels", "shapes")
        assert (region["to_name"], region["value"]["polygonlabels"]) == ("photo", ["Thing"])
        rings.append(np.array(region["value"]["points"]) * (width / 100, height / 100))
    exact = brush_to_mask(plain["result"][0]["value"]["rle"], (height, width), name="region")
    drawn = rings_to_mask(rings, (height, width), name="rings")
    assert (drawn & exact).sum() / (drawn | exact).sum() >= 0.98


def test_a_bad_task_costs_itself(server: Served, photos: Path, host: FileHost) -> None:
    sick = photos.parent / "sick"
    codes = write_sick_images(sick, 12, seed=2)
    for key, code in codes.items():
        if (sick / key).is_symlink():
            continue
        host.files[f"/data/upload/9/{Path(key).name}"] = (sick / key).read_bytes()
        good = f"/data/upload/1/{pictures_of(photos)[0].name}"
        first, second, third = predict(
            server, good, f"/data/upload/9/{Path(key).name}", "/data/upload/9/absent.jpg"
        )
        assert first["result"]
        assert "result" not in second
        assert second["error"]["code"] == code.value
        assert third["error"]["code"] == "vanished"
    assert "2 of 3 tasks have no prediction" in server.said[-1]


def test_nothing_but_label_studios_files_is_opened(
    server: Served, host: FileHost, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9)).save(secret)
    with file_host(token=None) as elsewhere:
        elsewhere.files["/a.png"] = secret.read_bytes()
        host.files["/data/upload/1/away.png"] = f"{elsewhere.url}/a.png"
        host.files["/data/upload/1/sideways.png"] = f"//{elsewhere.url[7:]}/a.png"
        host.files["/data/upload/1/inside.png"] = "/api/users/"
        host.files["/data/upload/1/login.png"] = "/user/login/?next=/data"
        port = host.url.rpartition(":")[2]
        before = len(host.asked)
        never = [
            f"file://{secret}",
            str(secret),
            f"{elsewhere.url}/a.png",
            f"//{elsewhere.url[7:]}/a.png",
            f"http://user:word@127.0.0.1:{port}/data/upload/1/a.png",
            f"http://127.0.0.1:{port}@{elsewhere.url[7:]}/data/a.png",
            f"https://127.0.0.1:{port}/data/upload/1/a.png",
            f"http://127.0.0.1.example:{port}/data/upload/1/a.png",
            f"ftp://127.0.0.1:{port}/data/a.png",
            "/api/users/",
            "/data/../api/users/",
            "/data/%2e%2e/api/users/",
            "/data/%252e%252e/api/users/",
            "/data\\..\\api/users/",
            "/data/upload/1/a b.png",
            "/data/upload/1/a.png\r\nX-Header: 1",
            "data:image/png;base64,iVBORw0KGgo=",
            "relative.png",
            "http://[::1",
            "",
            None,
            {"url": f"{elsewhere.url}/a.png"},
        ]
        for value, result in zip(never, predict(server, *never), strict=True):
            assert result["error"]["code"] == "unsafe_path", value
        assert host.asked[before:] == []
        results = predict(
            server,
            "/data/upload/1/away.png",
            "/data/upload/1/sideways.png",
            "/data/upload/1/inside.png",
            "/data/upload/1/login.png",
        )
        codes = [result["error"]["code"] for result in results]
        assert codes == ["unsafe_path", "unsafe_path", "unsafe_path", "permission_denied"]
        assert elsewhere.asked == []
        assert not any(path.startswith(("/api", "/user")) for path, _ in host.asked)


def test_the_token_goes_to_label_studio_alone(
    server: Served, host: FileHost, photos: Path, network: Labeller
) -> None:
    good = f"/data/upload/1/{pictures_of(photos)[0].name}"
    host.files["/data/upload/1/moved.png"] = good
    cloud = "/tasks/4/resolve/?fileuri=czM6Ly9idWNrZXQvYS5wbmc%3D"  # s3://bucket/a.png
    host.files[cloud] = host.files[good]
    body = {
        "tasks": [
            {"id": 1, "data": {"image": good}},
            {"id": 2, "data": {"image": f"{host.url}{good}"}},
            {"id": 3, "data": {"image": "/data/upload/1/moved.png"}},
            {"id": 4, "data": {"image": "s3://bucket/a.png"}},
        ],
        "label_config": CONFIG,
    }
    wanted = None
    for token, header in ((TOKEN, f"Token {TOKEN}"), ("head.body.sign", "Bearer an-access")):
        host.asked.clear()
        with served(network, host.url, token=lambda token=token: token) as one:
            answer = requests.post(f"{one.url}/predict", json=body, timeout=100)
        results = [result["result"] for result in answer.json()["results"]]
        wanted = wanted or results[0]
        assert [[region["value"] for region in one] for one in results] == [
            [region["value"] for region in wanted]
        ] * 4
        assert {told for path, told in host.asked if "token" not in path} == {header}
        assert token not in answer.text
    with served(network, host.url, token=lambda: "wrong") as one:
        assert predict(one, good)[0]["error"]["code"] == "permission_denied"
        assert not any("wrong" in said for said in one.said)


def test_pictures_end_at_the_limits(
    server: Served, host: FileHost, photos: Path, network: Labeller
) -> None:
    def endless(request: object) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while not host.gate.is_set():
                request.wfile.write(b"\0" * 65536)
        except OSError:
            ended.set()

    ended = threading.Event()
    host.files["/data/upload/1/endless.png"] = endless
    (result,) = predict(server, "/data/upload/1/endless.png")
    assert result["error"]["code"] == "unsafe_size"
    assert "more than 4 MB" in result["error"]["message"]
    assert ended.wait(20)

    def chunks() -> Iterator[bytes]:  # of a length that no header tells
        for _ in range(100):
            yield b"\0" * 100_000

    for body in (b"\0" * 4_000_001, chunks()):
        try:
            answer = requests.post(
                f"{server.url}/predict",
                data=body,
                headers={"Content-Type": "image/png"},
                timeout=100,
            )
        except requests.ConnectionError:  # it hangs up on whoever goes on sending
            continue
        assert answer.status_code == 413
        assert "larger than 4 MB (--max-upload)" in answer.json()["error"]["message"]
    small = labeller(max_pixels=1000)
    with served(small) as one:
        answer = requests.post(
            f"{one.url}/predict",
            data=pictures_of(photos)[0].read_bytes(),
            headers={"Content-Type": "image/png"},
            timeout=100,
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_pixels")


def test_requests_that_are_none_get_a_sentence(server: Served, photos: Path) -> None:
    picture = pictures_of(photos)[0].read_bytes()
    image, form = {"Content-Type": "image/png"}, {"Content-Type": "multipart/form-data"}
    as_json = {"Content-Type": "application/json"}
    deep = b"[" * 100_000
    for headers, data, status, said in (
        (image, b"", 422, "has no bytes"),
        (image, b"<html>", 422, "is not a picture"),
        (image, picture[: len(picture) // 2], 422, "ends early"),
        ({**image, "Accept": "text/html"}, picture, 406, "image/png"),
        ({"Content-Type": "text/plain"}, picture, 415, "text/plain is not taken"),
        ({}, picture, 415, "without a content type"),
        (form, picture, 400, ""),
        (as_json, b"{", 400, "not valid JSON"),
        (as_json, deep, 400, "not valid JSON"),
        (as_json, b"[]", 400, "must be a JSON object"),
        (as_json, b'{"tasks": 3, "label_config": "<View/>"}', 400, "no BrushLabels"),
        (as_json, json.dumps({"tasks": 3, "label_config": CONFIG}).encode(), 400, "list of"),
        (as_json, b'{"tasks": []}', 400, "no labelling config"),
        (as_json, b'{"label_config": "<!DOCTYPE a [<!ENTITY b \'c\'>]><a/>"}', 400, "unsafe"),
    ):
        answer = requests.post(
            f"{server.url}/predict", data=data, headers={"Accept": "*/*", **headers}, timeout=100
        )
        assert answer.status_code == status, answer.text
        assert said in answer.json()["error"]["message"]
    assert requests.get(f"{server.url}/predict", timeout=9).status_code == 405
    assert requests.get(f"{server.url}/nowhere", timeout=9).status_code == 404
    stranger = requests.get(f"{server.url}/health", headers={"Host": "a.example"}, timeout=9)
    assert stranger.status_code == 400


def test_what_is_late_says_so_and_what_is_done_counts(
    network: Labeller, host: FileHost, photos: Path
) -> None:
    waiting = threading.Event()

    def slow(request: object) -> None:
        waiting.set()
        host.gate.wait(60)

    host.files["/data/upload/1/slow.png"] = slow
    good = f"/data/upload/1/{pictures_of(photos)[0].name}"
    with (
        served(network, host.url, seconds=3, max_waiting=1) as one,
        ThreadPoolExecutor(1) as pool,
    ):
        later = pool.submit(predict, one, good, "/data/upload/1/slow.png", good)
        assert waiting.wait(30)
        assert requests.get(f"{one.url}/health", timeout=9).json()["waiting"] == 1
        busy = requests.post(
            f"{one.url}/predict", data=b"x", headers={"Content-Type": "image/png"}, timeout=9
        )
        assert (busy.status_code, busy.headers["Retry-After"]) == (503, "2")
        first, second, third = later.result(60)
        assert first["result"] and third["result"]
        assert second["error"]["code"] == "timeout"
        half = HTTPConnection(one.url.removeprefix("http://"), timeout=60)
        half.putrequest("POST", "/predict")
        for name, value in (("Content-Type", "image/png"), ("Content-Length", "9")):
            half.putheader(name, value)
        half.endheaders(b"\x89PNG")  # and nothing more comes
        assert half.getresponse().status == 504
        half.close()
    host.gate.set()


def test_label_studio_finds_its_contract(server: Served, host: FileHost) -> None:
    for path in ("/health", "/"):
        health = requests.get(f"{server.url}{path}", timeout=1).json()
        assert (health["status"], health["model_version"]) == ("UP", server.version)
    assert requests.get(f"{server.url}/versions", timeout=3).json() == {
        "versions": [server.version]
    }
    with file_host(token=None) as elsewhere:
        asked = {
            "project": "3.1763760000",
            "schema": CONFIG,
            "hostname": elsewhere.url,
            "access_token": "theirs",
            "extra_params": None,
        }
        answer = requests.post(f"{server.url}/setup", json=asked, timeout=3)
        assert answer.json()["model_version"] == server.version
        assert answer.json()["left_out"] == []
        assert elsewhere.asked == []
    assert any(elsewhere.url in said and host.url in said for said in server.said)
    wrong = CONFIG.replace('value="', 'value="x ')
    for schema, said in (
        ("<View><Text name='a' value='$b'/></View>", "no BrushLabels"),
        (wrong.replace('"x $', '"$'), "no label of the project is a class"),
        ("<View", "not valid XML"),
        (None, "no labelling config"),
    ):
        refused = requests.post(f"{server.url}/setup", json={"schema": schema}, timeout=3)
        assert refused.status_code == 400
        assert said in refused.json()["error"]["message"]
        assert "/setup is refused" in server.said[-1] and said in server.said[-1]
    event = {"action": "ANNOTATION_CREATED", "annotation": {}, "project": {}}
    assert requests.post(f"{server.url}/webhook", json=event, timeout=3).status_code == 200
    training = requests.post(f"{server.url}/webhook", json={"action": "START_TRAINING"}, timeout=3)
    assert training.status_code == 400 and "does not train" in training.text


def test_without_label_studio_no_task_is_opened(network: Labeller, host: FileHost) -> None:
    before = len(host.asked)
    with served(network) as one:
        for path in ("/predict", "/setup"):
            body = {
                "tasks": tasks_of(f"{host.url}/data/upload/1/a.png"),
                "label_config": CONFIG,
                "schema": CONFIG,
                "hostname": host.url,
            }
            answer = requests.post(f"{one.url}{path}", json=body, timeout=9)
            assert answer.status_code == 400 and "--label-studio" in answer.text
    assert len(host.asked) == before


def test_the_description_is_true(server: Served, photos: Path) -> None:
    document = requests.get(f"{server.url}/openapi.json", timeout=9).json()
    openapi_spec_validator.validate(document)
    picture = pictures_of(photos)[0]
    task = f"/data/upload/1/{picture.name}"
    setup = {"schema": CONFIG, "project": "1.2", "hostname": ""}
    tasks = {"tasks": tasks_of(task, "/etc/passwd"), "label_config": CONFIG}
    answers = {
        ("get", "/health"): requests.get(f"{server.url}/health", timeout=9),
        ("get", "/"): requests.get(f"{server.url}/", timeout=9),
        ("get", "/versions"): requests.get(f"{server.url}/versions", timeout=9),
        ("get", "/openapi.json"): requests.get(f"{server.url}/openapi.json", timeout=9),
        ("post", "/setup"): requests.post(f"{server.url}/setup", json=setup, timeout=9),
        ("post", "/webhook"): requests.post(f"{server.url}/webhook", json={}, timeout=9),
        ("post", "/predict"): requests.post(f"{server.url}/predict", json=tasks, timeout=99),
    }
    operations = {
        (method, path) for path, methods in document["paths"].items() for method in methods
    }
    assert operations == answers.keys()
    coco = requests.post(
        f"{server.url}/predict", files={"image": picture.read_bytes()}, headers=JSON, timeout=99
    )
    refused = requests.post(f"{server.url}/predict", data=b"x", timeout=9)
    for (method, path), answer in [
        *answers.items(),
        (("post", "/predict"), coco),
        (("post", "/predict"), refused),
    ]:
        told = document["paths"][path][method]["responses"][str(answer.status_code)]
        schema = told["content"]["application/json"]["schema"]
        whole = {**schema, "components": document["components"]}
        jsonschema.validate(answer.json(), whole, jsonschema.Draft202012Validator)
