# Fails where FILE is not what PROGRAM prints.
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE printed COMMAND_ERROR_IS_FATAL ANY)
file(READ ${FILE} stored)
if(NOT printed STREQUAL stored)
    message(FATAL_ERROR "${FILE} is not what the operator table says: write it anew with ${PROGRAM} > ${FILE}")
endif()
