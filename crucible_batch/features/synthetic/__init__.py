"""The mark of synthetic media: each picture is marked as made by a model."""
