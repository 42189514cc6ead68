"""THE run, for every command: layout, manifest, record, lock, attempts, pending, commit, ledger."""
