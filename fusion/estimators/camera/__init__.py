"""From pictures to landmarks, and from landmarks in several views to people."""
