"""The science: plans, measures, records and judges. Knows nothing of pytest or HTML."""
