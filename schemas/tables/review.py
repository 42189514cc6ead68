"""The pyarrow.Schema of what reviewers decided. Each column says what it holds."""

import pyarrow as pa

from maskmill.schemas.tables.columns import column

REVIEWED = pa.schema(
    [
        column("key", pa.string(), "of the image, as in the rows of the run", nullable=False),
        column("decision", pa.string(), "accepted | rejected | flagged; empty for a note alone"),
        column("note", pa.string(), "what a reviewer wrote; empty without"),
        column("reviewer", pa.string(), "who decided last, or wrote the note", nullable=False),
        column("at", pa.string(), "when, UTC, ISO 8601", nullable=False),
    ]
)
"""How every image stands of which something was said: `review/decisions.parquet`."""
