# How this repository's own tests, examples and benchmarks are compiled. Nothing in here reaches a project that uses
# tenon: there are no global flags, only properties of the targets below.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Kind of build" FORCE)
endif()
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    find_program(TENON_CCACHE ccache)
    if(TENON_CCACHE)
        set(CMAKE_CXX_COMPILER_LAUNCHER ${TENON_CCACHE})
    endif()
endif()
set(CMAKE_CXX_EXTENSIONS OFF)

# tenon_own_program: what every program of ours links. tenon's own headers are compiled with all warnings as errors.
add_library(tenon_own_program INTERFACE)
target_link_libraries(tenon_own_program INTERFACE tenon_tenon)
target_compile_options(tenon_own_program INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wconversion;-Wshadow;-Wpedantic;-Werror>")
if(TENON_CUDA)
    target_link_libraries(tenon_own_program INTERFACE tenon_cuda)
    # As a flag: CMake below 3.29 does not know that nvcc 13 has the standard.
    target_compile_options(tenon_own_program INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)
endif()
# The compiler keeps a frozen copy of the stack for each of several hundred inlined calls; its own diagnostics about
# ABI changes of vector arguments never apply here, because nothing passes vectors in registers.
target_compile_options(tenon_own_program INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-psabi>)
# What the sanitizers insert makes g++ doubt initialised variables.
if(CMAKE_CXX_FLAGS_RELEASE MATCHES "-fsanitize")
    target_compile_options(tenon_own_program INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    # Guarding every variable on the stack makes inlined loops take minutes to compile; the heap is guarded as always.
    target_compile_options(tenon_own_program INTERFACE "$<$<CXX_COMPILER_ID:GNU>:SHELL:--param asan-stack=0>")
endif()

# tenon_language(source...): with TENON_CUDA, nvcc compiles them: the same source, for the GPU as well.
function(tenon_language)
    list(FILTER ARGN INCLUDE REGEX "\\.cpp$")
    if(TENON_CUDA)
        set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CUDA)
    endif()
endfunction()

# The heavy kernels are compiled once, in cmake/kernels.cpp, and declared extern everywhere else.
add_library(tenon_extern_kernels OBJECT ${CMAKE_CURRENT_LIST_DIR}/kernels.cpp)
tenon_language(${CMAKE_CURRENT_LIST_DIR}/kernels.cpp ${CMAKE_CURRENT_LIST_DIR}/second_order.cpp)
target_link_libraries(tenon_extern_kernels PRIVATE tenon_own_program)
target_compile_definitions(tenon_extern_kernels PUBLIC TENON_EXTERN_KERNELS)

# So are second derivatives, in cmake/second_order.cpp.
add_library(tenon_extern_second_order STATIC EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/second_order.cpp)
target_link_libraries(tenon_extern_second_order PRIVATE tenon_own_program)
target_compile_definitions(tenon_extern_second_order PRIVATE TENON_EXTERN_KERNELS)

# tenon_program(name source...): an executable in that setting. Second derivatives are linked, and waited for, where a
# source file includes them (run CMake again after adding the include).
function(tenon_program name)
    add_executable(${name} ${ARGN})
    tenon_language(${ARGN})
    target_link_libraries(${name} PRIVATE tenon_own_program tenon_extern_kernels)
    foreach(source IN LISTS ARGN)
        if(source MATCHES "\\.cpp$")
            file(STRINGS ${source} uses REGEX "#include <tenon/(ops/second_order|testing/gradgradcheck)\\.hpp>" LIMIT_COUNT 1)
            if(uses)
                target_link_libraries(${name} PRIVATE tenon_extern_second_order)
            endif()
        endif()
    endforeach()
endfunction()
