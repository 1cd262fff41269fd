"""Linear probes of FaceCycle's representations: a file per task, and what they share."""
