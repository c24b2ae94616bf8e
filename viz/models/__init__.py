"""What is to be shown, worked out from records without Qt."""
