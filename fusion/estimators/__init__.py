"""One folder a modality: from what a sensor sent to what the filter can use."""
