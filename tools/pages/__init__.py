"""What a person sees: drawings, reports, pages."""
