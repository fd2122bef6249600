"""`everfly drill`: break a living deployment on purpose and measure what clients saw."""
