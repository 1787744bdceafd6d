"""The chassis that every service stands on: database, logs, probes, HTTP problems, what is printed. No business."""
