"""Labels to and from the annotators' tools, live: Label Studio and CVAT."""
