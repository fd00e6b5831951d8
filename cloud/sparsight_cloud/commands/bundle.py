"""`sparsight bundle build`: a run's checkpoint as a bundle, at any time and with any slicer."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from sparsight.errors import UsageError

if TYPE_CHECKING:
    from sparsight.bundle import Manifest
    from sparsight.settings import DetectSettings
    from sparsight_cloud.training.config import TrainConfig

FRAMES = 120
"""Pictures whose latents the entropy coder learns from."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How a bundle's frames are to be cut, where that was asked for.

    Attributes:
        threshold: Heat from which a peak counts as an object.
        min_gain: What a patch must add, in peaks at the threshold.
        patch: Side of a patch, in cells.
        mark: Heat that makes a cell worth the head.
    """

    threshold: float | None = None
    min_gain: float | None = None
    patch: int | None = None
    mark: float | None = None

    def of(self, detect: "DetectSettings") -> "DetectSettings":
        """Settings with it."""
        cut = detect.slicer
        return replace(
            detect,
            mark=detect.mark if self.mark is None else self.mark,
            slicer=replace(
                cut,
                threshold=cut.threshold if self.threshold is None else self.threshold,
                min_gain=cut.min_gain if self.min_gain is None else self.min_gain,
                patch_hw=cut.patch_hw if self.patch is None else (self.patch, self.patch),
            ),
        )


def build(
    config: Annotated[str, typer.Argument(help="The run's YAML file, or the name of a recipe.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    name: Annotated[str | None, typer.Option(help="Its name; that of the run without.")] = None,
    card: Annotated[
        Path | None, typer.Option(help="Markdown file for its card; one is written without.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Heat from which a peak counts as an object, in (0, 1].")
    ] = None,
    min_gain: Annotated[
        float | None, typer.Option(help="What a patch must add, in peaks at the threshold.")
    ] = None,
    patch: Annotated[
        int | None, typer.Option(help="Side of a patch, in cells, a multiple of 4.")
    ] = None,
    mark: Annotated[
        float | None, typer.Option(help="Heat that makes a cell worth the head, in [0, 1].")
    ] = None,
) -> None:
    """Build a bundle from a run's latest checkpoint.

    A run with `stage: bottleneck` or `joint` gives a bundle with a codec, edge.onnx and tables; its
    slicer is that of the bundle it started from, unless its seeker learned. A detector's run gives
    one without.

    Examples:
        sparsight bundle build my.yaml --out bundles/mine --threshold 0.55 --patch 12

        sparsight bundle build codec.yaml --out bundles/mine
    """
    from sparsight.settings import DetectSettings
    from sparsight_cloud.training.config import find_config, load_config
    from sparsight_cloud.training.export import bundle_from_checkpoint
    from sparsight_cloud.training.loop import CHECKPOINT

    file, base = find_config(config)
    settings = load_config(file, base=base)
    checkpoint = settings.out / CHECKPOINT
    text = None if card is None else _read(card)
    chosen = name or settings.out.name[:100]
    asked = Asked(threshold, min_gain, patch, mark)
    if settings.stage != "detector":
        manifest = build_codec_bundle(
            settings, out, asked, name=chosen, card=text, console=Console(stderr=True)
        )
    else:
        detect = asked.of(DetectSettings(long_side_px=settings.crop.long_side_px))
        manifest = bundle_from_checkpoint(
            checkpoint, out, name=chosen, card=text or f"# {chosen}\n", detect=detect
        )
    typer.echo(f"{out}: bundle {manifest.id[:12]}, {len(manifest.rates)} rates")


def build_codec_bundle(
    settings: "TrainConfig",
    out: Path,
    asked: Asked,
    *,
    name: str,
    card: str | None,
    console: Console,
) -> "Manifest":
    """A bundle of two halves from a run with a bottleneck; its tables are learned on its data.

    Raises:
        UsageError: The seeker is that of the bundle that the run started from, and so is all that
            was asked for.
    """
    from sparsight.bundle import CARD, open_bundle
    from sparsight.pictures import read_picture
    from sparsight_cloud.data.formats import scan_dataset
    from sparsight_cloud.data.reading import Reading
    from sparsight_cloud.training.codec_bundle import codec_bundle
    from sparsight_cloud.training.loop import CHECKPOINT

    seeker_stays = settings.stage == "bottleneck" or settings.model.learn == "cloud"
    if seeker_stays and asked != Asked():
        raise UsageError(
            "--threshold, --min-gain, --patch and --mark are those of the bundle that the run "
            "started from, as its seeker did not learn; build that one again first"
        )
    assert settings.model.start is not None
    start = open_bundle(settings.model.start)
    detect = asked.of(start.manifest.detect_settings())
    data = settings.data
    reading = Reading(allow_empty=data.allow_empty, drop_bad_boxes=data.drop_bad_boxes)
    images = scan_dataset(data.annotations, data.images, data.format, reading).images
    step = max(1, len(images) // FRAMES)
    shown = console.is_terminal and not console.quiet
    frames = (
        read_picture(image.path)
        for image in track(
            images[::step], "seeing pictures", console=console, transient=True, disable=not shown
        )
    )
    return codec_bundle(
        settings.out / CHECKPOINT,
        start.folder,
        out,
        name=name,
        card=card or (start.folder / CARD).read_text(encoding="utf-8"),
        detect=replace(detect, halo=settings.patches.halo),
        frames=frames,
        console=console,
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{file}: can't read the card ({e}); give a text file") from e
