"""HTTP: what every web process of ours answers with, whatever its business is."""
