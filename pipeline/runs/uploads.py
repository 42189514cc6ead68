"""What a killed start of a run left half sent to a bucket; see ``storage.uploads``."""

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.storage.filesystems import bucket_place


def end_abandoned_uploads(layout: RunLayout, record: RunRecord | None) -> list[str]:
    """End the uploads of an earlier start that did not come to its end; what to say about it.

    Call it while holding the run folder: all that is under way below it is then abandoned.
    """
    place = bucket_place(layout.filesystem, layout.path(""))
    if place is None or record is None or record.state == "finished":
        return []
    from maskmill.pipeline.storage.uploads import end_uploads  # remote storage only

    try:
        ended = end_uploads(*place)
    except OSError as error:
        return [
            f"whether an earlier start left half an upload behind cannot be looked up "
            f"({error.strerror}); a rule of the bucket that ends old uploads takes care of it"
        ]
    uploads = (
        "1 upload that an earlier start left half done is"
        if ended == 1
        else (f"{ended:,} uploads that an earlier start left half done are")
    )
    return [f"{uploads} ended"] if ended else []
