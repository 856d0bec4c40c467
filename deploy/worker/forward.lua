-- Routing rule of Orthanc: send the worker's results to the PACS ("pacs" in DicomModalities), and nothing else.
-- The worker stores by DICOMweb, which Orthanc knows as the origin "Plugins". Whatever comes by DIMSE or by
-- Orthanc's own API is not forwarded, whatever its header claims. So no result goes round in circles, either.
local RESULT_CLASSES = {
  ['1.2.840.10008.5.1.4.1.1.88.33'] = true,   -- Comprehensive SR
  ['1.2.840.10008.5.1.4.1.1.7'] = true,       -- Secondary Capture
  ['1.2.840.10008.5.1.4.1.1.11.1'] = true,    -- Grayscale Softcopy Presentation State
  ['1.2.840.10008.5.1.4.1.1.104.1'] = true,   -- Encapsulated PDF
}

function OnStoredInstance(instanceId, tags, metadata, origin)
  if origin['RequestOrigin'] == 'Plugins'
      and RESULT_CLASSES[tags['SOPClassUID']]
      and tags['ManufacturerModelName'] == 'covid-monai results' then
    SendToModality(instanceId, 'pacs')
  end
end
