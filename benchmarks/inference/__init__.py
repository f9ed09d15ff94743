"""How fast flowers are named, beside what people would use instead."""
