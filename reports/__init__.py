"""The report: results collected from what is stored, and everything that is drawn from them."""
