"""Several processes that train one run: how they join, agree, stop and exit together."""
