"""Training speed and accuracy, beside what people would use instead."""
