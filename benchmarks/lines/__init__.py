"""One file per kind of measurement. Each `measure` returns samples by line id, with their integrity checked."""
