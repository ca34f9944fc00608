"""An experiment of the papers -> its table, beside the papers' figures."""
