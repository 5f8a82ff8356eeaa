"""The demonstration: an application of the library, small and complete."""
