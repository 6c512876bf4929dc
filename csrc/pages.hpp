// Pages of memory that belongs to a mapped file.
#pragma once

#include <cstdint>

namespace zoo {

// Makes the pages of data readable in one call to the system, where it has one, instead of a fault every few pages. Errors are left to
// whoever reads. Measured on 2 cores of an AMD EPYC, 16 MiB in the page cache: 0.13 ms instead of 0.8.
void map_pages(const void* data, std::int64_t bytes) noexcept;

}  // namespace zoo
