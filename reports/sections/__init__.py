"""The sections of the report, one module each; ``reports.markdown`` has their order."""
