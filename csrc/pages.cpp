#include "pages.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; older C libraries do not name it, older kernels refuse it
#endif
#endif

namespace zoo {

void map_pages(const void* data, std::int64_t bytes) noexcept {
#if defined(__linux__)
    static const std::uintptr_t page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(data), first = begin & ~(page - 1);
    if (bytes > 0) {
        static_cast<void>(madvise(reinterpret_cast<void*>(first), begin - first + static_cast<std::uintptr_t>(bytes), MADV_POPULATE_READ));
    }
#else
    static_cast<void>(data);
    static_cast<void>(bytes);
#endif
}

}  // namespace zoo
