"""One file for each kind of measurement. Every `measure` returns samples by line id, with their integrity checked."""
