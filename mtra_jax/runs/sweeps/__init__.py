"""Many planned runs -> their directories, in several processes, and how long they take."""
