# cmake --install: headers, both libraries, pkg-config file, CMake package, program, man page, completion, models.
include(CMakePackageConfigHelpers)

install(TARGETS costeer costeer_shared costeer_static
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/costeer DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/models/costeer-llm.gguf ${PROJECT_SOURCE_DIR}/models/costeer-slm.gguf
  ${PROJECT_SOURCE_DIR}/models/costeer-slm-other.gguf
  ${PROJECT_SOURCE_DIR}/models/README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/costeer/models)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/demo DESTINATION ${CMAKE_INSTALL_DATADIR}/costeer/models)

# The man page and the completion are printed by the program from its own option tables.
foreach(doc IN ITEMS "man;costeer.1;${CMAKE_INSTALL_MANDIR}/man1" "bash;costeer.bash;${CMAKE_INSTALL_DATADIR}/bash-completion/completions")
  list(GET doc 0 format)
  list(GET doc 1 file)
  list(GET doc 2 destination)
  add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/${file}
    COMMAND costeer help --format ${format} > ${PROJECT_BINARY_DIR}/${file} DEPENDS costeer VERBATIM)
  list(APPEND costeer_docs ${PROJECT_BINARY_DIR}/${file})
  if(format STREQUAL "bash")
    install(FILES ${PROJECT_BINARY_DIR}/${file} DESTINATION ${destination} RENAME costeer)
  else()
    install(FILES ${PROJECT_BINARY_DIR}/${file} DESTINATION ${destination})
  endif()
endforeach()
add_custom_target(costeer_docs ALL DEPENDS ${costeer_docs})

# A program that links libcosteer.a needs llama.cpp's archives too. The pinned ones go beside it; an installed llama.cpp is named.
install(FILES ${costeer_llama_archives} DESTINATION ${CMAKE_INSTALL_LIBDIR}/costeer)
set(COSTEER_PC_LIBS_PRIVATE "-L\${libdir}/costeer -lllama-common")
foreach(lib IN LISTS costeer_llama_static_libs)
  string(APPEND COSTEER_PC_LIBS_PRIVATE " -l${lib}")
endforeach()
if(NOT costeer_llama_static_libs)
  if(NOT LLAMA_SHARED_LIB) # set by llama.cpp's package
    set(installed_cpu "-lggml-cpu")
  endif()
  string(APPEND COSTEER_PC_LIBS_PRIVATE " -lllama -lggml ${installed_cpu} -lggml-base")
endif()
configure_file(cmake/costeer.pc.in ${PROJECT_BINARY_DIR}/costeer.pc @ONLY)
configure_package_config_file(cmake/costeer-config.cmake.in ${PROJECT_BINARY_DIR}/costeer-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/costeer PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/costeer-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/costeer.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_BINARY_DIR}/costeer-config.cmake ${PROJECT_BINARY_DIR}/costeer-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/costeer)
