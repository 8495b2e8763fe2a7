"""What a site is made of: site.yaml, the scenario catalogue, and errors that carry file and line."""
