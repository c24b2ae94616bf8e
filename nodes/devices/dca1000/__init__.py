"""Raw samples of a TI radar through a DCA1000 capture card."""
